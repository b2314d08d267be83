// The byte order mark that some editors put before a UTF-8 text.
#pragma once

#include <string_view>

namespace mixgrad {

inline constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

// Without the one mark that `text` may begin with.
inline std::string_view without_byte_order_mark(std::string_view text) {
  return text.starts_with(kByteOrderMark) ? text.substr(kByteOrderMark.size()) : text;
}

}  // namespace mixgrad
