#include "apps/process/allocation_counter.h"

#include <atomic>
#include <cerrno>
#include <cstddef>

#if defined(MIXGRAD_SANITIZED) || !defined(__GLIBC__)

namespace mixgrad::app {
bool counts_allocations() { return false; }
std::int64_t allocations_so_far() { return 0; }
}  // namespace mixgrad::app

#else

namespace {
std::atomic<std::int64_t> g_allocations{0};
}

// glibc's own entry points. The functions below replace malloc and its relatives in the whole process.
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t bytes) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_malloc(bytes);
}
void* calloc(std::size_t count, std::size_t bytes) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_calloc(count, bytes);
}
void* realloc(void* old, std::size_t bytes) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_realloc(old, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_memalign(alignment, bytes);
}
void* memalign(std::size_t alignment, std::size_t bytes) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** out, std::size_t alignment, std::size_t bytes) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  *out = __libc_memalign(alignment, bytes);
  return *out == nullptr ? ENOMEM : 0;
}
}

namespace mixgrad::app {
bool counts_allocations() { return true; }
std::int64_t allocations_so_far() { return g_allocations.load(std::memory_order_relaxed); }
}  // namespace mixgrad::app

#endif
