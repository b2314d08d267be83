#pragma once

#include "ops/support/block_size.h"

namespace mixgrad {

inline constexpr std::int64_t kConvTaskTokens = 64;  // of a task of the CPU

inline constexpr BlockSize kCausalConvBlocks[] = {{"tokens", kConvTaskTokens}};

}  // namespace mixgrad
