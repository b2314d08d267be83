// One item of the --mixer pattern language, taken apart: name(key=value,...).
//   item.only({"heads", "kv_heads"});                           other options are refused
//   config.heads = item.count("heads", defaults.heads);         the option, or the default
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nn/config/enum_names.h"
#include "nn/config/model_config.h"

namespace mixgrad {

struct PatternDefaults;  // nn/config/layer_kind.h

class PatternItem {
 public:
  // ValueError, quoting the whole pattern, when the text is not of this form.
  PatternItem(std::string_view text, std::string_view pattern);

  const std::string& text() const { return text_; }  // as written, for errors
  const std::string& name() const { return name_; }

  // Which options the item may have. ValueError for another one, with the nearest right one. Must be called before any
  // option is asked for: to ask for one that is not among them is an error too, so that no list can lag behind.
  void only(const std::vector<std::string>& options) const;

  // The value of an option as written; null when it is not given.
  const std::string* option(const std::string& key) const;
  // The same as a number from 1 to high, a number from 0 to 1, one of an enumeration; `otherwise` when it is not given.
  std::int64_t count(const std::string& key, std::int64_t otherwise, std::int64_t high = kMaxHeads) const;
  double share(const std::string& key, double otherwise) const;
  bool flag(const std::string& key, bool otherwise) const;  // true or false
  // A bias of the layer's own; nullopt when it is not given, or says what the model's bias says.
  std::optional<bool> bias(const std::string& key, const PatternDefaults& defaults) const;
  template <class E>
  E choice(const std::string& key, E otherwise) const {
    const std::string* value = option(key);
    return value == nullptr ? otherwise : parse_enum<E>(*value, "mixer: " + name_ + " " + key);
  }
  // ValueError when both options are given; `text` says what the item takes: "shifts or a schedule".
  void not_both(const std::string& one, const std::string& other, const std::string& text) const;

 private:
  std::string text_;
  std::string name_;
  std::map<std::string, std::string> options_;
  mutable std::vector<std::string> known_;
};

// The items of a pattern: split at its commas, of which those within parentheses belong to their item.
std::vector<PatternItem> pattern_items(std::string_view pattern);

}  // namespace mixgrad
