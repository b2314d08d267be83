// The time, for figures such as tokens per second.
#pragma once

#include <chrono>

namespace mixgrad::app {

// Seconds of a clock that is never set back; only differences mean something.
inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace mixgrad::app
