// A stop request from outside (a signal, a test). Code that runs for long polls it and stops at the next point at which
// nothing is lost.
#pragma once

namespace mixgrad {

// Not an Error: nothing is wrong.
struct Interrupted {
  int signal = 0;
};

void request_interrupt(int signal) noexcept;  // may be called in a signal handler
int interrupt_requested() noexcept;           // the signal of the first request, 0 = none
void clear_interrupt() noexcept;

void check_interrupt();  // throws Interrupted when there has been a request

}  // namespace mixgrad
