#include "core/system/interrupt.h"

#include <atomic>

namespace mixgrad {
namespace {
std::atomic<int> g_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler stores it");
}  // namespace

void request_interrupt(int signal) noexcept {
  int none = 0;
  g_signal.compare_exchange_strong(none, signal);
}
int interrupt_requested() noexcept { return g_signal.load(std::memory_order_relaxed); }
void clear_interrupt() noexcept { g_signal = 0; }

void check_interrupt() {
  const int signal = interrupt_requested();
  if (signal != 0) throw Interrupted{signal};
}

}  // namespace mixgrad
