#pragma once

#include "ops/support/block_size.h"

namespace mixgrad {

// On CUDA.
inline constexpr std::int64_t kLossRowsMultiple = 128;      // rows of a chunk, a tile of a product
inline constexpr std::int64_t kLossNarrowRow = 1024;        // up to this vocabulary a warp reduces a row
inline constexpr std::int64_t kLossHeldRow = 8192;          // up to here a block keeps a row in its registers
inline constexpr std::int64_t kLossSmallVocabulary = 8192;  // up to here logits of bf16 models stay in f32

inline constexpr BlockSize kLinearCrossEntropyBlocks[] = {{"rows", kLossRowsMultiple},
                                                          {"vocabulary", kLossNarrowRow},
                                                          {"vocabulary", kLossHeldRow},
                                                          {"vocabulary", kLossSmallVocabulary}};

}  // namespace mixgrad
