#include "core/text/utf8.h"

#include <array>
#include <cstdio>

namespace mixgrad {

std::size_t incomplete_suffix(std::string_view text) {
  for (std::size_t length = 1; length <= 3 && length <= text.size(); ++length) {
    std::string character(text.substr(text.size() - length));
    // The smallest and the largest continuation: if neither makes a code point, no other does.
    for (const char tail : {'\x80', '\xbf'}) {
      std::string completed = character;
      while (completed.size() < 4) {
        completed += tail;
        std::size_t end = 0;
        if (next_code_point(completed, end) >= 0 && end == completed.size()) return length;
      }
    }
  }
  return 0;
}

std::string take_complete(std::string& pending) {
  const std::size_t complete = pending.size() - incomplete_suffix(pending);
  std::string text = pending.substr(0, complete);
  pending.erase(0, complete);
  return text;
}

std::string utf8_bytes(char32_t code) {
  const auto tail = [&](unsigned shift) { return static_cast<char>(0x80U | ((code >> shift) & 0x3fU)); };
  if (code < 0x80) return {static_cast<char>(code)};
  if (code < 0x800) return {static_cast<char>(0xc0U | code >> 6U), tail(0)};
  if (code < 0x10000) return {static_cast<char>(0xe0U | code >> 12U), tail(6), tail(0)};
  return {static_cast<char>(0xf0U | code >> 18U), tail(12), tail(6), tail(0)};
}

std::string show_code_point(char32_t code) {
  std::array<char, 16> number{};
  std::snprintf(number.data(), number.size(), "U+%04X", static_cast<unsigned>(code));
  const auto within = [&](char32_t low, char32_t high) { return code >= low && code <= high; };
  const bool control = code < 0x20 || within(0x7f, 0x9f);
  // Characters without width, and those that turn the direction of a line.
  const bool hidden = code == 0xad || within(0x200b, 0x200f) || within(0x2028, 0x202e) || within(0x2060, 0x206f) ||
                      within(0xfe00, 0xfe0f) || code == 0xfeff;
  return control || hidden ? number.data() : "'" + utf8_bytes(code) + "' (" + number.data() + ")";
}

}  // namespace mixgrad
