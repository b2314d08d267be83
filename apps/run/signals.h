// SIGINT and SIGTERM as a wish to stop.
#pragma once

namespace mixgrad::app {

// While it lives, the first SIGINT or SIGTERM is noted (core/system/interrupt.h) and the second ends the process at
// once, with the exit code 128 + its number.
class SignalScope {
 public:
  SignalScope();
  ~SignalScope();
  SignalScope(const SignalScope&) = delete;
  SignalScope& operator=(const SignalScope&) = delete;
};

const char* signal_name(int signal);  // "SIGINT"

}  // namespace mixgrad::app
