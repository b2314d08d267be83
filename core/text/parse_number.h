// Numbers from text: the whole text is one decimal number, or there is none.
#pragma once

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

namespace mixgrad {

// What from_chars reads, by strtod, which would also take leading blanks, '+' and hexadecimal digits.
template <class T>
std::optional<T> parse_by_strtod(std::string_view text) {
  constexpr std::string_view kNotFirst = " \t\n\v\f\r+";
  if (text.empty() || kNotFirst.find(text[0]) != std::string_view::npos) return std::nullopt;
  if (text.find_first_of("xX") != std::string_view::npos) return std::nullopt;
  const std::string copy(text);
  char* end = nullptr;
  errno = 0;
  const double value = std::strtod(copy.c_str(), &end);
  if (end != copy.c_str() + copy.size() || errno == ERANGE) return std::nullopt;
  if (std::isfinite(value) && std::abs(value) > static_cast<double>(std::numeric_limits<T>::max())) return std::nullopt;
  return static_cast<T>(value);
}

// `text` without leading '+', blanks or anything else around the number; nothing for a number that T cannot hold.
template <class T>
std::optional<T> parse_number(std::string_view text) {
#if defined(__cpp_lib_to_chars)
  constexpr bool kReadsReals = true;
#else  // libc++, whose from_chars reads integers alone
  constexpr bool kReadsReals = false;
#endif
  if constexpr (std::is_floating_point_v<T> && !kReadsReals) {
    return parse_by_strtod<T>(text);
  } else {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
  }
}

inline std::optional<std::int64_t> parse_integer(std::string_view text) { return parse_number<std::int64_t>(text); }

}  // namespace mixgrad
