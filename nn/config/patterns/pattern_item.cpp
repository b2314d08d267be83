#include "nn/config/patterns/pattern_item.h"

#include <algorithm>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/config/layer_kind.h"
#include "nn/config/patterns/pattern_text.h"

namespace mixgrad {
namespace {

[[noreturn]] void malformed(std::string_view pattern, const std::string& what) {
  raise<ValueError>("mixer: a pattern like \"hsm:scalar,attention(heads=4,kv_heads=2)\" is required; ", what, " in ",
                    quote(pattern), "; correct the pattern");
}

}  // namespace

PatternItem::PatternItem(std::string_view text, std::string_view pattern) : text_(text) {
  const std::size_t open = text.find('(');
  name_ = trimmed(text.substr(0, open));
  if (open == std::string_view::npos) return;
  if (text.back() != ')') malformed(pattern, "text after a closing parenthesis");
  for (const std::string_view option : split(text.substr(open + 1, text.size() - open - 2), ',')) {
    const std::size_t equals = option.find('=');
    if (equals == std::string_view::npos) malformed(pattern, "the option " + quote(option) + " without \"=\"");
    const std::string key(trimmed(option.substr(0, equals)));
    if (!options_.emplace(key, trimmed(option.substr(equals + 1))).second) {
      malformed(pattern, "the option " + quote(key) + " twice");
    }
  }
}

void PatternItem::only(const std::vector<std::string>& options) const {
  known_ = options;
  for (const auto& given : options_) {
    if (std::find(options.begin(), options.end(), given.first) != options.end()) continue;
    if (options.empty()) {
      raise<ValueError>("mixer: ", name_, " has no options; got ", quote(given.first), "; leave it out");
    }
    raise<ValueError>("mixer: ", name_, " has the options ", join(options), "; got ", quote(given.first), "; ",
                      did_you_mean(given.first, options), "correct the pattern");
  }
}

const std::string* PatternItem::option(const std::string& key) const {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) {
    raise<ValueError>("mixer kind: the options of ", name_, " must be named by only() before they are asked for; ",
                      quote(key), " was not; add it to the list");
  }
  const auto found = options_.find(key);
  return found == options_.end() ? nullptr : &found->second;
}

std::int64_t PatternItem::count(const std::string& key, std::int64_t otherwise, std::int64_t high) const {
  const std::string* value = option(key);
  return value == nullptr ? otherwise : parse_count(*value, name_ + " " + key, high);
}

double PatternItem::share(const std::string& key, double otherwise) const {
  const std::string* value = option(key);
  return value == nullptr ? otherwise : parse_share(*value, name_ + " " + key);
}

bool PatternItem::flag(const std::string& key, bool otherwise) const {
  const std::string* value = option(key);
  if (value == nullptr) return otherwise;
  if (*value == "true" || *value == "false") return *value == "true";
  raise<ValueError>("mixer: ", name_, " ", key, " must be true or false; got ", quote(*value), "; correct the pattern");
}

std::optional<bool> PatternItem::bias(const std::string& key, const PatternDefaults& defaults) const {
  const bool own = flag(key, defaults.bias);
  return own == defaults.bias ? std::nullopt : std::optional(own);
}

void PatternItem::not_both(const std::string& one, const std::string& other, const std::string& text) const {
  if (option(one) == nullptr || option(other) == nullptr) return;
  raise<ValueError>("mixer: ", name_, " takes ", text, "; got both in ", quote(text_), "; leave one out");
}

std::vector<PatternItem> pattern_items(std::string_view pattern) {
  std::vector<PatternItem> items;
  bool inside = false;
  std::size_t begin = 0;
  std::vector<std::string_view> texts;
  for (std::size_t i = 0; i <= pattern.size(); ++i) {
    const char c = i < pattern.size() ? pattern[i] : ',';
    if (c == '(') {
      if (inside) malformed(pattern, "a parenthesis within parentheses");
      inside = true;
    } else if (c == ')') {
      if (!inside) malformed(pattern, "a closing parenthesis without an opening one");
      inside = false;
    } else if (c == ',' && (!inside || i == pattern.size())) {
      if (inside) malformed(pattern, "an unclosed parenthesis");
      texts.push_back(trimmed(pattern.substr(begin, i - begin)));
      if (texts.back().empty()) malformed(pattern, "an empty item");
      begin = i + 1;
    }
  }
  for (const std::string_view text : texts) items.emplace_back(text, pattern);
  return items;
}

}  // namespace mixgrad
