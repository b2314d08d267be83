// Scratch memory of a thread, kept between calls: a task of a parallel_for asks for it and allocates nothing once the
// largest size has been seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mixgrad::cpu {

// At least `count` elements, contents unspecified. Different slots of one thread do not overlap.
template <class A, int Slot>
A* thread_scratch(std::int64_t count) {
  thread_local std::vector<A> memory;
  if (memory.size() < static_cast<std::size_t>(count)) memory.resize(static_cast<std::size_t>(count));
  return memory.data();
}

}  // namespace mixgrad::cpu
