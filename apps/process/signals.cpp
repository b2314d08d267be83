#include "apps/process/signals.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <ctime>

#include "core/system/interrupt.h"

namespace mixgrad::app {
namespace {

enum class Again : std::uint8_t { ends_at_once, is_the_same_request };
struct StopSignal {
  int number;
  const char* name;
  Again again;
};
constexpr std::array kSignals = {
    StopSignal{SIGHUP, "SIGHUP", Again::is_the_same_request},
    StopSignal{SIGINT, "SIGINT", Again::ends_at_once},
    StopSignal{SIGQUIT, "SIGQUIT", Again::ends_at_once},
    StopSignal{SIGUSR1, "SIGUSR1", Again::is_the_same_request},
    StopSignal{SIGUSR2, "SIGUSR2", Again::is_the_same_request},
    StopSignal{SIGALRM, "SIGALRM", Again::is_the_same_request},
    StopSignal{SIGTERM, "SIGTERM", Again::ends_at_once},
    StopSignal{SIGXCPU, "SIGXCPU", Again::is_the_same_request},
};
constexpr std::int64_t kSameRequestMs = 100;

std::atomic<std::int64_t> g_first_ms{0};  // when the request came

std::int64_t signal_clock_ms() {  // clock_gettime may be called in a signal handler
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return std::int64_t{time.tv_sec} * 1000 + time.tv_nsec / 1'000'000;
}

bool ends_at_once(int signal) {
  for (const StopSignal& stop : kSignals) {
    if (stop.number == signal) return stop.again == Again::ends_at_once;
  }
  return false;
}

extern "C" void on_signal(int signal) {
  if (interrupt_requested() == 0) {
    g_first_ms = signal_clock_ms();
    request_interrupt(signal);
  } else if (ends_at_once(signal) && signal_clock_ms() - g_first_ms >= kSameRequestMs) {
    ::_exit(128 + signal);
  }
}

void install(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;  // a write to a file or a pipe is restarted
  sigemptyset(&action.sa_mask);
  struct sigaction before {};
  ::sigaction(signal, nullptr, &before);
  if (before.sa_handler != SIG_IGN) ::sigaction(signal, &action, nullptr);  // nohup, or a shell's background job
}

}  // namespace

SignalScope::SignalScope() {
  clear_interrupt();
  for (const StopSignal& stop : kSignals) install(stop.number, on_signal);
  sigpipe_ = std::signal(SIGPIPE, SIG_IGN);
}

SignalScope::~SignalScope() {
  for (const StopSignal& stop : kSignals) install(stop.number, SIG_DFL);
  std::signal(SIGPIPE, sigpipe_);
}

const char* signal_name(int signal) {
  for (const StopSignal& stop : kSignals) {
    if (stop.number == signal) return stop.name;
  }
  return signal == SIGPIPE ? "SIGPIPE (nobody reads stdout any more)" : "a signal";
}

}  // namespace mixgrad::app
