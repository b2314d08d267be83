#pragma once

#include "ops/selective_scan/selective_scan.h"
#include "ops/support/block_size.h"

namespace mixgrad {

inline constexpr std::int64_t kScanBlockChannels = 64;     // of an inner loop of the CPU
inline constexpr std::int64_t kScanTaskChannels = 256;     // of a task of the CPU's backward
inline constexpr std::int64_t kScanCudaChannels = 32;      // of a block of CUDA
inline constexpr std::int64_t kScanCudaFewChannels = 16;   // of a block of CUDA with 16 states
inline constexpr std::int64_t kScanSegmentTokens = 64;     // of a segment on CUDA
inline constexpr std::int64_t kScanSegmentedTokens = 512;  // from here on CUDA works in segments, on few sequences

inline constexpr BlockSize kSelectiveScanBlocks[] = {{"tokens", kScanChunk},
                                                     {"tokens", kScanSegmentTokens},
                                                     {"tokens", kScanSegmentedTokens},
                                                     {"channels", kScanBlockChannels},
                                                     {"channels", kScanTaskChannels},
                                                     {"channels", kScanCudaChannels},
                                                     {"channels", kScanCudaFewChannels}};

}  // namespace mixgrad
