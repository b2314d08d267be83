// Numbers as the bytes of a binary file.
//
//   append_big<std::uint16_t>(bytes, 1);
#pragma once

#include <cstddef>
#include <string>
#include <type_traits>

namespace mixgrad {

template <class T>
void append_little(std::string& bytes, T value) {
  static_assert(std::is_unsigned_v<T>);
  for (std::size_t i = 0; i < sizeof(T); ++i) bytes += static_cast<char>(value >> 8U * i & 0xffU);
}

template <class T>
void append_big(std::string& bytes, T value) {
  static_assert(std::is_unsigned_v<T>);
  for (std::size_t i = sizeof(T); i-- > 0;) bytes += static_cast<char>(value >> 8U * i & 0xffU);
}

}  // namespace mixgrad
