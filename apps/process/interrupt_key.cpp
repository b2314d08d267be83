#include "apps/process/interrupt_key.h"

#include "core/system/interrupt.h"

namespace mixgrad::app {
namespace {

extern "C" void on_interrupt_key(int signal) { request_interrupt(signal); }

}  // namespace

InterruptKeyScope::InterruptKeyScope(Waiting waiting) {
  struct sigaction action {};
  action.sa_handler = on_interrupt_key;
  action.sa_flags = waiting == Waiting::continues ? SA_RESTART : 0;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, &before_);
}

InterruptKeyScope::~InterruptKeyScope() { ::sigaction(SIGINT, &before_, nullptr); }

}  // namespace mixgrad::app
