// The options that say how sources of data are read, shared by the verbs that take data.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apps/options/option_set.h"
#include "nn/data/readers/reader.h"

namespace mixgrad::app {

// What --valid says.
struct ValidChoice {
  enum class Kind : std::uint8_t { fraction, sources, none };
  Kind kind = Kind::fraction;
  double fraction = 0.1;
};

struct SourceOptions {
  std::string field, column, codebooks;
  std::int64_t codebook_size = 1024;
  std::vector<std::string> valid;

  void declare(OptionSet& options, const OptionTraits& traits);
  void declare_valid(OptionSet& options, OptionTraits traits);

  ReaderOptions reader_options() const;  // ValueError: --codebooks is no list of numbers
  // ValueError: a fraction that is not between 0 and 1, or several values with a fraction or `none` among them.
  ValidChoice valid_choice() const;
};

}  // namespace mixgrad::app
