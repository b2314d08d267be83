// What this build of the library has. Apart from device.h, so that only the files that ask differ between two builds.
#pragma once

#include "mixgrad/config.h"

namespace mixgrad::build {

inline constexpr bool has_cuda = MIXGRAD_HAS_CUDA;
inline constexpr bool checked = MIXGRAD_HAS_CHECKED_MEMORY;  // fresh memory is NaN, so a read before a write shows
inline constexpr bool has_mpi = MIXGRAD_HAS_MPI;             // several processes by MPI (nn/distributed)
inline constexpr bool has_openmp = MIXGRAD_HAS_OPENMP;       // several threads (core/parallel.h)
// PCRE2 and utf8proc, for byte pairs and tokenizers of Hugging Face (nn/tokenizers).
inline constexpr bool has_text_libraries = MIXGRAD_HAS_TEXT_LIBRARIES;

}  // namespace mixgrad::build
