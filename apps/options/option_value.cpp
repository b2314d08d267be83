#include "apps/options/option_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"
#include "core/text/escape.h"
#include "core/text/parse_number.h"
#include "core/text/suggest.h"
#include "nn/files/strict_json.h"

namespace mixgrad::app {
namespace {

// A value of an option may begin with '+'.
template <class T>
std::optional<T> read(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  return parse_number<T>(text);
}

std::string range_text(RealRange range) {
  const std::string low = number_text(range.low);
  const std::string high = number_text(range.high);
  if (std::isinf(range.high)) return (range.without_low ? "above " : "of at least ") + low;
  if (!range.without_low && !range.without_high) return "from " + low + " to " + high;
  return (range.without_low ? "above " : "of at least ") + low + " and " +
         (range.without_high ? "below " : "at most ") + high;
}

}  // namespace

std::int64_t parse_integer(const std::string& what, std::string_view text, IntRange range) {
  const auto value = read<std::int64_t>(text);
  if (!value || *value < range.low || *value > range.high) {
    raise<ValueError>(what, " must be an integer from ", range.low, " to ", range.high, "; got ", quote(text));
  }
  return *value;
}

std::uint64_t parse_unsigned(const std::string& what, std::string_view text) {
  const auto value = read<std::uint64_t>(text);
  if (!value) raise<ValueError>(what, " must be an integer from 0 to ", UINT64_MAX, "; got ", quote(text));
  return *value;
}

double parse_real(const std::string& what, std::string_view text, RealRange range) {
  const auto value = read<double>(text);
  const bool good = value && std::isfinite(*value) && (range.without_low ? *value > range.low : *value >= range.low) &&
                    (range.without_high ? *value < range.high : *value <= range.high);
  if (!good) raise<ValueError>(what, " must be a number ", range_text(range), "; got ", quote(text));
  return *value;
}

bool parse_switch(const std::string& what, std::string_view text) {
  if (text != "true" && text != "false") raise<ValueError>(what, " must be true or false; got ", quote(text));
  return text == "true";
}

std::string parse_word(const std::string& what, const std::string& text, const std::vector<std::string>& allowed) {
  if (std::find(allowed.begin(), allowed.end(), text) == allowed.end()) {
    const std::string near = nearest(text, allowed);
    raise<ValueError>(what, " must be one of ", join(allowed), "; got ", quote(text),
                      near.empty() ? "" : "; did you mean " + quote(near) + "?");
  }
  return text;
}

std::string number_text(double value) {
  char text[40];
#if defined(__cpp_lib_to_chars)
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
#else  // libc++, whose to_chars writes integers alone
  for (int digits = 1; digits <= 17; ++digits) {
    std::snprintf(text, sizeof text, "%.*g", digits, value);
    if (parse_number<double>(text) == value) break;
  }
  return text;
#endif
}

std::string quoted_toml(const std::string& value) {
  return "\"" + escaped(value, ControlForm::unicode, EscapeQuotes::yes) + "\"";
}

std::string list_text(const std::vector<std::string>& texts) {
  if (texts.empty()) return {};
  if (texts.size() == 1 && !texts[0].starts_with('[')) return texts[0];
  nlohmann::json list = nlohmann::json::array();
  for (const std::string& text : texts) list.push_back(json_text(text));
  return list.dump();
}

std::vector<std::string> list_of_text(const std::string& what, const std::string& text) {
  if (text.empty()) return {};
  if (!text.starts_with('[')) return {text};
  std::vector<std::string> texts;
  try {
    const nlohmann::json list = parse_strict_json(text, what);
    for (const nlohmann::json& one : list) texts.push_back(bytes_of_json_text(json_string(one, {what, ""})));
  } catch (const FormatError&) {
    raise<ValueError>(what, " must be a text, or several as [\"a\",\"b\"]; got ", quote(text));
  }
  return texts;
}

}  // namespace mixgrad::app
