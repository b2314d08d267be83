// What this build has. Apart from device.h, so that only the files that ask differ between two builds.
#pragma once

namespace mixgrad::build {

#if defined(MIXGRAD_CUDA)
inline constexpr bool has_cuda = true;
#else
inline constexpr bool has_cuda = false;
#endif

#if defined(MIXGRAD_CHECKED)
inline constexpr bool checked = true;  // fresh memory is filled with NaN, so that a read before a write shows
#else
inline constexpr bool checked = false;
#endif

}  // namespace mixgrad::build
