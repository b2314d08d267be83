// Ctrl-C as a request to the program, not as its end.
#pragma once

#include <csignal>
#include <cstdint>

namespace mixgrad::app {

// Whether a system call that waits, such as a read from a terminal, ends with EINTR when Ctrl-C is pressed.
enum class Waiting : std::uint8_t { ends, continues };

// During its lifetime SIGINT becomes a stop request (core/system/interrupt.h), however often it comes. Everything else
// that ends a process still does. One may lie within another.
class InterruptKeyScope {
 public:
  explicit InterruptKeyScope(Waiting waiting);
  ~InterruptKeyScope();
  InterruptKeyScope(const InterruptKeyScope&) = delete;
  InterruptKeyScope& operator=(const InterruptKeyScope&) = delete;

 private:
  struct sigaction before_ {};  // what the launcher, or the outer scope, chose for it
};

}  // namespace mixgrad::app
