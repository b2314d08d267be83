// std::bit_cast, also with the libc++ of Emscripten 3.1, which has none.
#pragma once

#include <bit>
#include <version>

namespace mixgrad {

#if defined(__cpp_lib_bit_cast)
using std::bit_cast;
#else
template <class To, class From>
constexpr To bit_cast(const From& from) noexcept {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, from);
}
#endif

}  // namespace mixgrad
