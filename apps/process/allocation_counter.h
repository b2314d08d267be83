// Counts every allocation of the process, by replacing malloc and its relatives (operator new calls malloc). Not in
// sanitizer builds, which need a replacement of their own.
#pragma once

#include <cstdint>

namespace mixgrad::app {
bool counts_allocations();  // false in sanitizer builds
// From now on those are not counted that the CUDA driver (libcuda.so) makes by itself: it allocates now and then in a
// thread of its own. Once, after the first use of a device.
void watch_allocations();
std::int64_t allocations_so_far();  // since the start of the process, all threads
}  // namespace mixgrad::app
