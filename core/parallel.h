// Threads. Work is cut by shape, never by thread count: a task's result may depend on its index only,
// so the same input gives the same bits for any number of threads.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/build.h"
#include "core/context.h"
#include "core/scratch.h"

#if MIXGRAD_HAS_OPENMP
#include <omp.h>
#endif

namespace mixgrad {

// Number of threads that parallel_for uses, at least 1: that of the context (core/context.h), and where it names none,
// OpenMP's default (OMP_NUM_THREADS or all cores). Without OpenMP it is 1.
int threads();

// Denormals to zero in the calling thread: a few per cent of denormal values cost a factor of 60 in a product.
void flush_denormals();

// Calls task(i) for i in [0, count), in any order and on any thread. Not nested: inside a task, call serial code.
//
// Thread t starts with the t-th of equal contiguous ranges and, done with it, helps with the others. So operators that
// cut the same rows give them to the same thread, whose caches still hold them: where two cores share no cache, a
// shared counter (schedule(dynamic)) makes every product read half of its rows from the other core.
template <class Task>
void parallel_for(std::int64_t count, const Task& task) {
  if (count <= 0) return;
  flush_denormals();  // here too: one thread must give the bits of many
  const int team = threads();
  if (count == 1 || team == 1) {
    for (std::int64_t i = 0; i < count; ++i) task(i);
    return;
  }
#if MIXGRAD_HAS_OPENMP
  struct alignas(64) Range {  // a cache line each
    std::atomic<std::int64_t> next;
    std::int64_t end;
  };
  constexpr int kMaxRanges = 64;
  Range ranges[kMaxRanges];
  const int parts = team < kMaxRanges ? team : kMaxRanges;
  const Context& caller = context();
  for (int r = 0; r < parts; ++r) {
    ranges[r].next.store(count * r / parts, std::memory_order_relaxed);
    ranges[r].end = count * (r + 1) / parts;
  }
#pragma omp parallel num_threads(team)
  {
    const ContextScope scope(caller);
    flush_denormals();
    catch_up_scratch();
    const int self = omp_get_thread_num();
    for (int r = 0; r < parts; ++r) {
      Range& range = ranges[(self + r) % parts];
      for (;;) {
        const std::int64_t i = range.next.fetch_add(1, std::memory_order_relaxed);
        if (i >= range.end) break;
        task(i);
      }
    }
  }
#endif
}

}  // namespace mixgrad
