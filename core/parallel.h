// Threads. Work is cut by shape, never by thread count: a task's result may depend on its index only,
// so the same input gives the same bits for any number of threads.
#pragma once

#include <omp.h>

#include <cstdint>

namespace mixgrad {

// Number of threads that parallel_for uses, at least 1. The default is OpenMP's (OMP_NUM_THREADS or all cores).
int threads();
void set_threads(int count);  // ValueError when count < 1

// Denormals to zero in the calling thread: a few per cent of denormal values cost a factor of 60 in a product.
void flush_denormals();

// Calls task(i) for i in [0, count), in any order and on any thread. Not nested: inside a task, call serial code.
template <class Task>
void parallel_for(std::int64_t count, const Task& task) {
  if (count <= 0) return;
  flush_denormals();  // here too: one thread must give the bits of many
  if (count == 1 || threads() == 1) {
    for (std::int64_t i = 0; i < count; ++i) task(i);
    return;
  }
#pragma omp parallel num_threads(threads())
  {
    flush_denormals();
#pragma omp for schedule(dynamic, 1) nowait
    for (std::int64_t i = 0; i < count; ++i) task(i);
  }
}

}  // namespace mixgrad
