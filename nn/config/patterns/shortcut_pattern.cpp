#include "nn/config/patterns/shortcut_pattern.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/text/parse_number.h"
#include "core/text/suggest.h"
#include "nn/config/patterns/pattern_text.h"

namespace mixgrad {
namespace {

[[noreturn]] void refuse(std::string_view pattern, const std::string& what) {
  raise<ValueError>("shortcut: hidden states like \"2,4,6,8(hidden=1024,concat=sequence)\" are required; ", what,
                    " in ", quote(pattern), "; correct it");
}

std::int64_t parse_number(std::string_view text, const std::string& what, std::int64_t low, std::int64_t high) {
  const std::optional<std::int64_t> value = parse_integer(text);
  if (!value || *value < low || *value > high) {
    raise<ValueError>("shortcut: ", what, " must be an integer from ", low, " to ", high, "; got ", quote(text),
                      "; correct it");
  }
  return *value;
}

void set_option(ShortcutConfig& config, std::string_view option, std::string_view pattern,
                std::vector<std::string>& seen) {
  const std::size_t equals = option.find('=');
  if (equals == std::string_view::npos) refuse(pattern, "the option " + quote(option) + " without \"=\"");
  const std::string key(trimmed(option.substr(0, equals)));
  const std::string_view value = trimmed(option.substr(equals + 1));
  static const std::vector<std::string> known{"hidden", "concat"};
  if (std::find(seen.begin(), seen.end(), key) != seen.end()) refuse(pattern, "the option " + quote(key) + " twice");
  seen.push_back(key);
  if (key == "hidden") {
    config.hidden = parse_number(value, "hidden", 1, kMaxHidden);
  } else if (key == "concat") {
    config.concat = parse_enum<ShortcutConcat>(value, "shortcut: concat");
  } else {
    raise<ValueError>("shortcut: the options are ", join(known), "; got ", quote(key), "; ", did_you_mean(key, known),
                      "correct it");
  }
}

}  // namespace

ShortcutConfig parse_shortcut_pattern(std::string_view pattern) {
  ShortcutConfig config;
  const std::string_view text = trimmed(pattern);
  const std::size_t open = text.find('(');
  for (const std::string_view source : split(text.substr(0, open), ',')) {
    config.sources.push_back(parse_number(source, "each hidden state", 0, kMaxLayers - 1));
  }
  if (open == std::string_view::npos) return config;
  if (text.back() != ')' || text.find(')') + 1 != text.size()) refuse(pattern, "no closing parenthesis at the end");
  std::vector<std::string> seen;
  for (const std::string_view option : split(text.substr(open + 1, text.size() - open - 2), ',')) {
    set_option(config, option, pattern, seen);
  }
  return config;
}

}  // namespace mixgrad
