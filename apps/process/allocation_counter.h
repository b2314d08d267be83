// Counts every allocation of the process, by replacing malloc and its relatives (operator new calls malloc). Not in
// sanitizer builds, which need a replacement of their own.
#pragma once

#include <cstdint>

namespace mixgrad::app {
bool counts_allocations();          // false in sanitizer builds
std::int64_t allocations_so_far();  // since the start of the process, all threads
}  // namespace mixgrad::app
