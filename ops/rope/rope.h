// rope: rotary positions, rotate-half form. The first `heads` heads of width `head_dim` are rotated, later channels
// copied.
//   angle(t,i) = (first_position + floor(t/rows_per_position)) theta^(-2i/head_dim),   i in [0, head_dim/2)
//   y[i]       = x[i] cos(angle) - x[i+head_dim/2] sin(angle)
//   y[i+dh/2]  = x[i+head_dim/2] cos(angle) + x[i] sin(angle)
//   x: [B,T,W] float with W >= heads head_dim, a row view is read in place   y: [B,T,W]
//   gradient: the same rotation by -angle                                     saves nothing
//   cost: one pass; cos and sin come from a table that is built once per (theta, head_dim) and grows with T; on the
//   CPU it moves along beyond 65,536 positions, so that its size does not grow for ever
//   a step captured in a CUDA graph, with first_position on the device, holds while that is below
//   rope_table_rows(first_position.host + 1): the table does not grow under it, capture again
//   errors: ShapeError when head_dim is odd, W is too small, or T is no multiple of rows_per_position
//   source: Su et al., RoFormer (2021); rotate-half as in GPT-NeoX
#pragma once

#include "core/numeric/token_position.h"
#include "core/tensor.h"

namespace mixgrad {

struct RopeOptions {
  std::int64_t heads = 1;
  std::int64_t head_dim = 2;
  double theta = 10000.0;
  TokenPosition first_position = 0;
  std::int64_t rows_per_position = 1;  // rows of one token, such as the keys of several sources; divides T
};

Tensor rope(const Tensor& x, const RopeOptions& options);

// Rows of the smallest table for this many positions on a CUDA device: a power of two.
constexpr std::int64_t rope_table_rows(std::int64_t positions) {
  std::int64_t rows = 256;
  while (rows < positions) rows *= 2;
  return rows;
}

}  // namespace mixgrad
