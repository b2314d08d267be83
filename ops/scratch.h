// Scratch memory of a thread, kept between calls: a task of a parallel_for asks for it and allocates nothing once the
// largest size has been seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace mixgrad::cpu {

// At least `count` elements from the start of a cache line on, contents unspecified. Different slots of one thread do
// not overlap.
template <class A, int Slot>
A* thread_scratch(std::int64_t count) {
  constexpr std::size_t kLine = 64;
  thread_local std::vector<A> memory;
  const std::size_t wanted = static_cast<std::size_t>(count) + kLine / sizeof(A);
  if (memory.size() < wanted) memory.resize(wanted);
  void* from = memory.data();
  std::size_t bytes = memory.size() * sizeof(A);
  return static_cast<A*>(std::align(kLine, static_cast<std::size_t>(count) * sizeof(A), from, bytes));
}

}  // namespace mixgrad::cpu
