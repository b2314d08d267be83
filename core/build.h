// What this build of the library has. Apart from device.h, so that only the files that ask differ between two builds.
#pragma once

#include "mixgrad/config.h"

namespace mixgrad::build {

inline constexpr bool has_cuda = MIXGRAD_HAS_CUDA;
inline constexpr bool checked = MIXGRAD_HAS_CHECKED_MEMORY;  // fresh memory is NaN, so a read before a write shows
inline constexpr bool has_mpi = MIXGRAD_HAS_MPI;             // several processes (nn/distributed)

}  // namespace mixgrad::build
