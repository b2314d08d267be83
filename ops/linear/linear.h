// linear: an affine map of the last axis.
//   y[r,n] = sum_k x[r,k] weight[n,k] + bias[n]
//   x: [..., K] float, a row view is read in place   weight: [N, K]   bias: [N] or undefined   y: [..., N]
//   gradient: dx = dy weight,  dweight = dy^T x,  dbias[n] = sum_r dy[r,n]            saves x and weight
//   cost: 2 R N K operations forward, twice that backward (R = rows of x)
//   errors: ShapeError when the sizes do not match, DTypeError when the dtypes differ
#pragma once

#include "core/tensor.h"

namespace mixgrad {

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = Tensor());

// gelu(linear(x, weight, bias)), the same bits; for the few rows of a decoding step on a CUDA device it is one kernel.
Tensor linear_gelu(const Tensor& x, const Tensor& weight, const Tensor& bias = Tensor());

// The same as linear, put into the columns [column, column + N) of `whole` [..., W], which other products fill beside
// it (output_columns in autograd/tape.h): what is concatenated is computed where it belongs.
void linear_into(const Tensor& x, const Tensor& weight, const Tensor& bias, Tensor& whole, std::int64_t column);

}  // namespace mixgrad
