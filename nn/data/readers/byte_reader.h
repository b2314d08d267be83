// Numbers from the bytes of a binary file, one after the other, each checked to lie in the file.
//
//   ByteReader bytes(content, "song.mid");
//   const auto length = bytes.big<std::uint32_t>("the length of the header");
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "core/error.h"

namespace mixgrad {

class ByteReader {
 public:
  // `first` is the position of the bytes in the file, for errors.
  ByteReader(std::string_view bytes, std::string source, std::size_t first = 0)
      : bytes_(bytes), source_(std::move(source)), first_(first) {}

  std::size_t left() const { return bytes_.size() - at_; }
  std::size_t position() const { return first_ + at_; }  // in the file

  // FormatError when fewer are left; `what` names them.
  std::string_view take(std::size_t count, const char* what) {
    if (count > left()) {
      raise<FormatError>(source_, ": ", what, " must have ", count, count == 1 ? " byte; " : " bytes; ", left(),
                         left() == 1 ? " is" : " are", " left at byte ", position(),
                         "; the file is truncated or damaged: fetch or write it again");
    }
    const std::string_view taken = bytes_.substr(at_, count);
    at_ += count;
    return taken;
  }

  template <class T>
  T little(const char* what) {
    return number<T>(take(sizeof(T), what), false);
  }
  template <class T>
  T big(const char* what) {
    return number<T>(take(sizeof(T), what), true);
  }

  // The integer in these sizeof(T) bytes.
  template <class T>
  static T number(std::string_view bytes, bool big_endian) {
    std::make_unsigned_t<T> value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      const auto byte = static_cast<unsigned char>(bytes[big_endian ? i : sizeof(T) - 1 - i]);
      value = static_cast<std::make_unsigned_t<T>>((static_cast<std::uint64_t>(value) << 8U) | byte);
    }
    return static_cast<T>(value);
  }

 private:
  std::string_view bytes_;
  std::string source_;
  std::size_t first_;
  std::size_t at_ = 0;
};

}  // namespace mixgrad
