#include "core/text/utf8.h"

#include <array>
#include <cstdio>

namespace mixgrad {

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
  const bool control = code < 0x20 || (code >= 0x7f && code < 0xa0);
  return control ? number.data() : "'" + utf8_bytes(code) + "' (" + number.data() + ")";
}

}  // namespace mixgrad
