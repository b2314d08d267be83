// The errors a user can meet. Every text has the form
//   op: what is required, with its numbers; what came; what to do
// Programmer errors are MIXGRAD_ASSERT, user errors one of these types.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace mixgrad {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// clang-format off
struct ShapeError : Error { using Error::Error; };   // sizes that do not fit together
struct DTypeError : Error { using Error::Error; };   // an element type that the operation does not take
struct DeviceError : Error { using Error::Error; };  // a device that is absent, or two that were mixed
struct GradError : Error { using Error::Error; };    // a gradient that is asked for and cannot exist
struct ValueError : Error { using Error::Error; };   // an option or argument outside its range
struct FormatError : Error { using Error::Error; };  // the content of a file is not what it must be
struct IoError : Error { using Error::Error; };      // the system refused to read or write
struct OutOfMemory : Error { using Error::Error; };  // no memory for an allocation
// clang-format on

// raise<ShapeError>("linear: weight must be [", n, ",", k, "], got ", shape);
template <class E, class... Parts>
[[noreturn]] void raise(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw E(text.str());
}

[[noreturn]] void assert_failed(const char* condition, const char* why, const char* file, int line);

}  // namespace mixgrad

// A condition that only a mistake in this library can break.
#define MIXGRAD_ASSERT(condition, why) \
  ((condition) ? static_cast<void>(0) : ::mixgrad::assert_failed(#condition, why, __FILE__, __LINE__))
