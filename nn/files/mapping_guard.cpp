#include "nn/files/mapping_guard.h"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>

namespace mixgrad {
namespace {

// The signal handler reads these, so they are atomics in static memory. A begin of 0 marks a free entry; `end` is
// written before `begin`.
struct Mapping {
  std::atomic<std::uintptr_t> begin{0};
  std::atomic<std::uintptr_t> end{0};
};
std::array<Mapping, 256> g_mappings;
std::uintptr_t g_page_bytes = 4096;

extern "C" void on_bus_error(int signal, siginfo_t* info, void*) {
  const bool from_kernel = info->si_code > 0;  // else kill() or raise(): there is no address
  const auto address = from_kernel ? reinterpret_cast<std::uintptr_t>(info->si_addr) : 0;
  for (const Mapping& mapping : g_mappings) {
    const std::uintptr_t begin = mapping.begin.load();
    const std::uintptr_t end = mapping.end.load();
    if (begin == 0 || address < begin || address >= end) continue;
    // Everything from this page on reads as zeros from now on; the read that failed is then repeated.
    const std::uintptr_t page = address / g_page_bytes * g_page_bytes;
    void* const there = reinterpret_cast<void*>(page);  // NOLINT(performance-no-int-to-ptr)
    if (::mmap(there, end - page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == there) return;
  }
  ::signal(signal, SIG_DFL);
  ::raise(signal);  // delivered when this handler returns
}

}  // namespace

void guard_mapped_files() {
  g_page_bytes = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, nullptr);
}

void note_mapping(const void* begin, std::size_t bytes) {
  const auto from = reinterpret_cast<std::uintptr_t>(begin);
  for (Mapping& mapping : g_mappings) {
    // The largest address reserves the entry: no read fails there.
    std::uintptr_t free = 0;
    if (!mapping.begin.compare_exchange_strong(free, UINTPTR_MAX)) continue;
    mapping.end = from + bytes;
    mapping.begin = from;
    return;
  }
}

void forget_mapping(const void* begin) {
  const auto from = reinterpret_cast<std::uintptr_t>(begin);
  for (Mapping& mapping : g_mappings) {
    if (mapping.begin != from) continue;
    mapping.begin = 0;
    return;
  }
}

}  // namespace mixgrad
