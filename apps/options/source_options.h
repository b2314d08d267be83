// The options that say how sources of data are read, shared by the verbs that take data.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "apps/options/option_set.h"
#include "nn/data/data_set.h"

namespace mixgrad::app {

inline constexpr std::int64_t kCodebookSize = 1024;  // EnCodec's

struct SourceOptions {
  std::string field, column, codebooks, document_token;
  std::int64_t codebook_size = kCodebookSize;
  std::vector<std::string> valid;
  bool reset_state = false;

  // All of them. `traits` are shared by all; a run that stored none of them has their defaults.
  void declare(OptionSet& options, const OptionTraits& traits);
  // --reset-state, for a verb that trains or evaluates.
  void declare_reset_state(OptionSet& options, OptionTraits traits);
  void declare_readers(OptionSet& options, OptionTraits traits);  // --field, --column, --codebooks, --codebook-size
  void declare_valid(OptionSet& options, OptionTraits traits);

  // Takes the values that a run stored.
  void take_stored(const std::map<std::string, std::string>& options);
  // The names of all of them but --reset-state.
  static const std::vector<std::string>& names();

  // Relative paths become absolute, so that the run can be resumed from any folder; those of folders end with a slash.
  static std::vector<std::string> absolute_sources(const std::vector<std::string>& sources);
  std::string absolute_valid() const;  // as an option's text

  ReaderOptions reader_options() const;  // ValueError: --codebooks is no list of numbers
  // ValueError: a fraction that is not between 0 and 1, or several values with a fraction or `none` among them.
  ValidChoice valid_choice() const;
};

}  // namespace mixgrad::app
