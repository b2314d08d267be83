// layer_norm: rows to mean 0 and variance 1, then scaled and shifted.
//   mean = sum_c x[c] / D,  inv_std = 1 / sqrt(sum_c (x[c] - mean)^2 / D + eps)      (biased variance)
//   xhat[c] = (x[c] - mean) inv_std,   y[c] = weight[c] xhat[c] + bias[c]
//   x: [..., D] float   weight: [D]   bias: [D] or undefined   y: [..., D]; weight and bias are f32 beside a bf16 x
//   gradient, with g[c] = dy[c] weight[c]:
//     dx[c] = inv_std (g[c] - sum_j g[j]/D - xhat[c] sum_j g[j] xhat[j]/D),
//     dweight[c] = sum_rows dy[c] xhat[c],  dbias[c] = sum_rows dy[c]
//   saves x, weight, mean and inv_std of each row; statistics in f32 for bf16
//   cost: one pass forward, one backward; row blocks of fixed size are summed in order for dweight and dbias
//   source: Ba, Kiros and Hinton, Layer Normalization (2016)
//
// add_layer_norm: the residual sum fused with the norm that follows it.
//   sum = x + y,   normed = layer_norm(sum)
//   gradient: d = dsum + (layer_norm gradient of dnormed at sum);  dx = dy = d
//   sum has the dtype of x, normed that of y. They are the same, or x is f32 and y bf16: a residual stream in f32.
#pragma once

#include <optional>

#include "core/tensor.h"

namespace mixgrad {

struct SumAndNorm {
  Tensor sum;     // [..., D]
  Tensor normed;  // [..., D]
};

// `out` may be bf16 for an f32 x: then y is rounded to it.
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps,
                  std::optional<DType> out = std::nullopt);
SumAndNorm add_layer_norm(const Tensor& x, const Tensor& y, const Tensor& weight, const Tensor& bias, double eps);

}  // namespace mixgrad
