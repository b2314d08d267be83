// UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mixgrad {

inline constexpr char32_t kCodePoints = 0x110000;  // one more than the largest code point

// The code point at `offset`, which is advanced past it. Returns -1 and leaves `offset` when no valid one begins there.
// offset < text.size().
inline std::int32_t next_code_point(std::string_view text, std::size_t& offset) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<std::int32_t>(static_cast<unsigned char>(text[i])) : 0;
  };
  const std::int32_t first = byte(offset);
  if (first < 0x80) {
    ++offset;
    return first;
  }
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4) return -1;
  std::int32_t code = first & (0xff >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    const std::int32_t next = byte(offset + i);
    if ((next & 0xc0) != 0x80) return -1;
    code = code << 6 | (next & 0x3f);
  }
  constexpr std::int32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kSmallest[length] || code >= static_cast<std::int32_t>(kCodePoints)) return -1;
  if (code >= 0xd800 && code < 0xe000) return -1;
  offset += length;
  return code;
}

// The number of bytes at the end of `text` that are the beginning of a code point and not yet all of it: 0 to 3.
std::size_t incomplete_suffix(std::string_view text);

// Removes from `pending` all but such a beginning, and returns what it removed: text that may be shown.
std::string take_complete(std::string& pending);

inline bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    if (next_code_point(text, at) < 0) return false;
  }
  return true;
}

// The bytes of a valid code point.
std::string utf8_bytes(char32_t code);

// For errors: "'é' (U+00E9)", or "U+000A" alone when it cannot be shown.
std::string show_code_point(char32_t code);

}  // namespace mixgrad
