#pragma once

#include "ops/support/block_size.h"

namespace mixgrad {

inline constexpr int kNormLaneChunks = 4;  // chunks of 16 bytes of a row, in the registers of one of 32 lanes on CUDA

// Up to so many rows, the CUDA kernels fetch the parameters before the rows exist.
inline constexpr int kNormFewRows = 64;

// Rows of a partial sum of the gradients of weight and bias on CUDA.
inline constexpr int kNormSumRows = 32;

// The longest rows of f64, f32 and bf16 that fit into these registers, in units of 8 channels; and the few rows.
inline constexpr BlockSize kNormBlocks[] = {{"eights of channels", 32 * kNormLaneChunks * 2 / 8},
                                            {"eights of channels", 32 * kNormLaneChunks * 4 / 8},
                                            {"eights of channels", 32 * kNormLaneChunks * 8 / 8},
                                            {"rows", kNormFewRows},
                                            {"rows", kNormSumRows}};

}  // namespace mixgrad
