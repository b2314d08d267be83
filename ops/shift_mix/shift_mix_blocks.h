#pragma once

#include "ops/support/block_size.h"

namespace mixgrad {

inline constexpr int kShiftMixSumRows = 32;  // rows of a partial sum of the gradients of a and b on CUDA

// And channels that 16 bytes hold of bf16, f32 and f64, of which the CUDA kernels take whole ones.
inline constexpr BlockSize kShiftMixBlocks[] = {
    {"tokens", kShiftMixSumRows}, {"channels", 8}, {"channels", 4}, {"channels", 2}, {"channels", 32 * 8}};

}  // namespace mixgrad
