#include "apps/run/signals.h"

#include <unistd.h>

#include <csignal>

#include "core/system/interrupt.h"

namespace mixgrad::app {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM};

extern "C" void on_signal(int signal) {
  if (interrupt_requested() != 0) ::_exit(128 + signal);
  request_interrupt(signal);
}

void install(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;  // a write to a file or a pipe goes on
  sigemptyset(&action.sa_mask);
  for (const int signal : kSignals) {
    struct sigaction before {};
    ::sigaction(signal, nullptr, &before);
    if (before.sa_handler != SIG_IGN) ::sigaction(signal, &action, nullptr);  // nohup, or a shell's background job
  }
}

}  // namespace

SignalScope::SignalScope() {
  clear_interrupt();
  install(on_signal);
}
SignalScope::~SignalScope() { install(SIG_DFL); }

const char* signal_name(int signal) { return signal == SIGINT ? "SIGINT" : "SIGTERM"; }

}  // namespace mixgrad::app
