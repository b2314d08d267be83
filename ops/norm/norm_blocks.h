#pragma once

#include <cstdint>

#include "ops/support/block_size.h"

namespace mixgrad {

inline constexpr int kNormLaneChunks = 4;  // chunks of 16 bytes of a row, in the registers of one of 32 lanes on CUDA

// Up to so many rows, the CUDA kernels fetch the parameters before the rows exist.
inline constexpr int kNormFewRows = 64;

// Rows of a partial sum of the gradients of weight and bias on CUDA, of which a warp goes through a quarter one after
// the other: fewer where there are few rows in all, so that every multiprocessor has enough of them under way.
inline constexpr int kNormSumRows = 8;
constexpr int norm_sum_rows(std::int64_t rows) { return rows <= 4096 ? kNormSumRows : 4 * kNormSumRows; }

// The longest rows of f64, f32 and bf16 that fit into these registers, in units of 8 channels; and the few rows.
inline constexpr BlockSize kNormBlocks[] = {{"eights of channels", 32 * kNormLaneChunks * 2 / 8},
                                            {"eights of channels", 32 * kNormLaneChunks * 4 / 8},
                                            {"eights of channels", 32 * kNormLaneChunks * 8 / 8},
                                            {"rows", kNormFewRows},
                                            {"rows", kNormSumRows}};

}  // namespace mixgrad
