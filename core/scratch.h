// Scratch memory of a thread, kept between calls, growing only.
//
// A task may run on any thread (parallel.h), so which thread first needs how much is chance. What any of them asked for
// is therefore known to all, and each thread catches up when its part of a parallel region begins: once every kernel of
// a step has run once, no later step allocates, whichever thread takes which task.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mixgrad {

// Operators use the slots from 0 on in their tasks; the last two belong to the matrix product.
inline constexpr int kScratchSlots = 16;

// At least `bytes` bytes from the start of a cache line on, contents unspecified (NaN in checked builds, when fresh).
// They stay valid until this thread asks for the slot again or begins a parallel region: ask inside of a task.
// OutOfMemory.
void* thread_scratch_bytes(int slot, std::size_t bytes);
void* caller_scratch_bytes(int slot, std::size_t bytes);  // see caller_scratch

// The same, as `count` elements. Different slots of one thread do not overlap.
template <class A, int Slot>
A* thread_scratch(std::int64_t count) {
  static_assert(Slot >= 0 && Slot < kScratchSlots);
  return static_cast<A*>(thread_scratch_bytes(Slot, static_cast<std::size_t>(count) * sizeof(A)));
}

// The same for the thread that calls parallel_for, outside of its tasks: it stays valid in regions, and no other thread
// keeps up with it. A slot is for tasks or for callers, not both.
template <class A, int Slot>
A* caller_scratch(std::int64_t count) {
  static_assert(Slot >= 0 && Slot < kScratchSlots);
  return static_cast<A*>(caller_scratch_bytes(Slot, static_cast<std::size_t>(count) * sizeof(A)));
}

// Grows the calling thread's slots to what any thread has asked for. parallel_for calls it; what cannot be had is left
// to the task that needs it.
void catch_up_scratch() noexcept;

// How often a slot of any thread has grown.
std::int64_t scratch_growths();

}  // namespace mixgrad
