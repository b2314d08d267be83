// A wish to stop that comes from outside (a signal, a test). Whoever works for long asks for it and ends where nothing
// is lost; nobody is torn out of what he does.
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
