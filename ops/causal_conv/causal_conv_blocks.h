#pragma once

#include "ops/support/block_size.h"

namespace mixgrad {

inline constexpr std::int64_t kConvTaskTokens = 64;     // of a task of the CPU
inline constexpr std::int64_t kConvThreadChannels = 4;  // of a thread of CUDA
inline constexpr std::int64_t kConvStretch = 8;         // tokens of a thread of CUDA in bf16 and f32
inline constexpr std::int64_t kConvStretchDoubles = 4;  // and in f64

inline constexpr BlockSize kCausalConvBlocks[] = {{"tokens", kConvTaskTokens},
                                                  {"tokens", kConvStretch},
                                                  {"tokens", kConvStretchDoubles},
                                                  {"channels", kConvThreadChannels}};

}  // namespace mixgrad
