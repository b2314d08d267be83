// Numbers from text: the whole text is one decimal number, or there is none.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>

namespace mixgrad {

// `text` without leading '+', blanks or anything else around the number; nothing for a number that T cannot hold.
template <class T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

inline std::optional<std::int64_t> parse_integer(std::string_view text) { return parse_number<std::int64_t>(text); }

}  // namespace mixgrad
