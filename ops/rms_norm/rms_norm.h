// rms_norm: rows to root mean square 1, then scaled.
//   inv_rms = 1 / sqrt(sum_c x[c]^2 / D + eps),   y[c] = weight[c] x[c] inv_rms
//   x: [..., D] float   weight: [D], f32 beside a bf16 x   y: [..., D]
//   gradient, with g[c] = dy[c] weight[c]:
//     dx[c] = inv_rms (g[c] - x[c] inv_rms^2 sum_j g[j] x[j] / D),   dweight[c] = sum_rows dy[c] x[c] inv_rms
//   saves x, weight and inv_rms of each row
//   source: Zhang and Sennrich, Root Mean Square Layer Normalization (2019)
//
// add_rms_norm: the residual sum fused with the norm that follows it.
//   sum = x + y,   normed = rms_norm(sum);   gradient: d = dsum + (rms_norm gradient of dnormed at sum);  dx = dy = d
//   dtypes as in add_layer_norm
#pragma once

#include "core/tensor.h"
#include "ops/layer_norm/layer_norm.h"  // SumAndNorm

namespace mixgrad {

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, std::optional<DType> out = std::nullopt);
SumAndNorm add_rms_norm(const Tensor& x, const Tensor& y, const Tensor& weight, double eps);

}  // namespace mixgrad
