// Counts every allocation of the process, by replacing malloc and its kin (operator new calls malloc). Not in sanitizer
// builds, whose own replacement must stay.
#pragma once

#include <cstdint>

namespace mixgrad::app {
bool counts_allocations();          // false in sanitizer builds
std::int64_t allocations_so_far();  // since the start of the process, all threads
}  // namespace mixgrad::app
