#pragma once

#include "ops/support/block_size.h"

namespace mixgrad {

inline constexpr std::int64_t kEmbeddingSliceChannels = 32;  // of a task of the CPU's backward
inline constexpr std::int64_t kEmbeddingSegmentRows = 512;   // that one block of CUDA looks through
inline constexpr std::int64_t kEmbeddingSmallTable =
    4 * kEmbeddingSegmentRows;  // rows; CUDA sorts those of larger ones

inline constexpr std::int64_t kEmbeddingPieceRows = 64;  // sorted rows that one block of CUDA adds up

inline constexpr BlockSize kEmbeddingBlocks[] = {{"channels", kEmbeddingSliceChannels},
                                                 {"tokens", kEmbeddingSegmentRows},
                                                 {"tokens", kEmbeddingPieceRows},
                                                 {"table rows", kEmbeddingSmallTable}};

}  // namespace mixgrad
