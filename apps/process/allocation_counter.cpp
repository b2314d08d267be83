#include "apps/process/allocation_counter.h"

#include <link.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string_view>

#if defined(MIXGRAD_SANITIZED) || !defined(__GLIBC__)

namespace mixgrad::app {
bool counts_allocations() { return false; }
void watch_allocations() {}
std::int64_t allocations_so_far() { return 0; }
}  // namespace mixgrad::app

#else

namespace {

std::atomic<std::int64_t> g_allocations{0};

// The code of the CUDA driver, which allocates in threads of its own; empty until watch_allocations().
std::atomic<std::uintptr_t> g_driver_begin{0};
std::atomic<std::uintptr_t> g_driver_end{0};

void count_call(const void* caller) {
  const auto address = reinterpret_cast<std::uintptr_t>(caller);
  if (address >= g_driver_begin.load(std::memory_order_relaxed) &&
      address < g_driver_end.load(std::memory_order_relaxed)) {
    return;
  }
  g_allocations.fetch_add(1, std::memory_order_relaxed);
}

int find_driver(dl_phdr_info* library, std::size_t, void*) {
  if (std::string_view(library->dlpi_name).find("libcuda.so") == std::string_view::npos) return 0;
  for (int i = 0; i < library->dlpi_phnum; ++i) {
    const auto& part = library->dlpi_phdr[i];
    if (part.p_type != PT_LOAD || (part.p_flags & PF_X) == 0) continue;
    const std::uintptr_t begin = library->dlpi_addr + part.p_vaddr;
    g_driver_end = begin + part.p_memsz;
    g_driver_begin = begin;
  }
  return 1;
}

}  // namespace

// glibc's own entry points. The functions below replace malloc and its relatives in the whole process.
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t bytes) {
  count_call(__builtin_return_address(0));
  return __libc_malloc(bytes);
}
void* calloc(std::size_t count, std::size_t bytes) {
  count_call(__builtin_return_address(0));
  return __libc_calloc(count, bytes);
}
void* realloc(void* old, std::size_t bytes) {
  count_call(__builtin_return_address(0));
  return __libc_realloc(old, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) {
  count_call(__builtin_return_address(0));
  return __libc_memalign(alignment, bytes);
}
void* memalign(std::size_t alignment, std::size_t bytes) {
  count_call(__builtin_return_address(0));
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** out, std::size_t alignment, std::size_t bytes) {
  count_call(__builtin_return_address(0));
  *out = __libc_memalign(alignment, bytes);
  return *out == nullptr ? ENOMEM : 0;
}
}

namespace mixgrad::app {
bool counts_allocations() { return true; }
void watch_allocations() { dl_iterate_phdr(find_driver, nullptr); }
std::int64_t allocations_so_far() { return g_allocations.load(std::memory_order_relaxed); }
}  // namespace mixgrad::app

#endif
