// Signals that end a run become a stop request.
#pragma once

namespace mixgrad::app {

// During its lifetime the first of SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM, SIGXCPU becomes a stop
// request (core/system/interrupt.h), also where the launcher ignored it, but for SIGHUP (nohup). Scopes do not nest. A
// SIGINT, SIGQUIT or SIGTERM that comes at least 0.1 s later ends the process at once, with the exit code 128 + its
// number; `timeout` and terminals send the same signal twice in less. The others are sent again and again by some
// systems (SIGXCPU every second).
// SIGPIPE is ignored meanwhile: writing to a pipe without a reader fails.
class SignalScope {
 public:
  SignalScope();
  ~SignalScope();
  SignalScope(const SignalScope&) = delete;
  SignalScope& operator=(const SignalScope&) = delete;

 private:
  void (*sigpipe_)(int);  // what the launcher chose for it
};

const char* signal_name(int signal);  // "SIGINT"

}  // namespace mixgrad::app
