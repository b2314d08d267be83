// SIGINT and SIGTERM become a stop request.
#pragma once

namespace mixgrad::app {

// During its lifetime the first SIGINT or SIGTERM becomes a stop request (core/system/interrupt.h), and the second ends
// the process at once, with the exit code 128 + its number.
class SignalScope {
 public:
  SignalScope();
  ~SignalScope();
  SignalScope(const SignalScope&) = delete;
  SignalScope& operator=(const SignalScope&) = delete;
};

const char* signal_name(int signal);  // "SIGINT"

}  // namespace mixgrad::app
