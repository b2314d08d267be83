#include "nn/config/patterns/pattern_text.h"

#include <optional>

#include "core/error.h"
#include "core/text/parse_number.h"
#include "core/text/suggest.h"

namespace mixgrad {

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\n") - begin + 1);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(trimmed(text.substr(0, end)));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::int64_t parse_count(std::string_view text, const std::string& what, std::int64_t high) {
  return parse_integer(text, what, 1, high);
}

std::int64_t parse_integer(std::string_view text, const std::string& what, std::int64_t low, std::int64_t high) {
  const std::optional<std::int64_t> value = parse_integer(text);
  if (!value || *value < low || *value > high) {
    raise<ValueError>("mixer: ", what, " must be an integer from ", low, " to ", high, "; got ", quote(text),
                      "; correct the pattern");
  }
  return *value;
}

double parse_share(std::string_view text, const std::string& what) {
  const std::optional<double> value = parse_number<double>(text);
  if (!value || !(*value >= 0 && *value <= 1)) {
    raise<ValueError>("mixer: ", what, " must be a number from 0 to 1; got ", quote(text), "; correct the pattern");
  }
  return *value;
}

}  // namespace mixgrad
