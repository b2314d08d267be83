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

struct sigaction g_before[kSignals.size()];  // what the launcher chose for each

// SIGHUP that nohup ignores stays ignored: the run is to outlive the terminal. The others stop and save also where they
// were ignored: a shell without job control ignores SIGINT and SIGQUIT for what it starts with &, and whoever sends
// them to a run all the same, by kill or by Ctrl-C to a script, wants it to end.
void install_stop_signals() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;  // a write to a file or a pipe is restarted
    sigemptyset(&action.sa_mask);
    const int signal = kSignals[i].number;
    ::sigaction(signal, nullptr, &g_before[i]);
    if (signal != SIGHUP || g_before[i].sa_handler != SIG_IGN) ::sigaction(signal, &action, nullptr);
  }
}

}  // namespace

SignalScope::SignalScope() {
  clear_interrupt();
  install_stop_signals();
  sigpipe_ = std::signal(SIGPIPE, SIG_IGN);
}

SignalScope::~SignalScope() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i].number, &g_before[i], nullptr);
  std::signal(SIGPIPE, sigpipe_);
}

const char* signal_name(int signal) {
  for (const StopSignal& stop : kSignals) {
    if (stop.number == signal) return stop.name;
  }
  return signal == SIGPIPE ? "SIGPIPE (nobody reads stdout any more)" : "a signal";
}

}  // namespace mixgrad::app
