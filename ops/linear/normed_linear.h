// The products of a decoding step that begin with a norm, in one kernel on a CUDA device. They compute what separate
// operators compute, and round where those round:
//   sum = x + y;  u = norm(sum) in the dtype of the weights;  result = after(linear(u, weight, bias))
//   x: [..., K] float, contiguous   y: likewise or undefined (sum is x then)   weight: [N, K]   result: [..., N]
//   with more_weight [M,K]: result [..., N + M], whose columns from N on are linear(u, more_weight)
//   after:  plain;  gelu;  rope of the result as [B,T,N];  swiglu: silu(linear(u, gate_weight, gate_bias)) result
// Every block of threads computes the norm of the few rows for itself, which costs less than a kernel of its own does.
// Not differentiable: operators that a tape records are never fused like this.
#pragma once

#include <optional>

#include "core/tensor.h"
#include "ops/norm/row_norm.h"
#include "ops/rope/rope.h"

namespace mixgrad {

enum class AfterLinear { plain, gelu, rope, swiglu };

struct NormedLinear {
  Tensor weight = {};  // [N,K]
  Tensor bias = {};    // [N] or undefined
  AfterLinear after = AfterLinear::plain;
  RopeOptions rope = {};    // with AfterLinear::rope
  Tensor gate_weight = {};  // with AfterLinear::swiglu, of the shape of weight
  Tensor gate_bias = {};    // likewise, of that of bias
  Tensor more_weight = {};  // [M,K] or undefined, with plain and rope; M in whole heads with rope
};

// nullopt, and nothing is done, where there is no such kernel: on a CPU, in f64, for more than kProductVectors rows,
// for more than 1,024 channels, for rows that are no whole chunks of 16 bytes, under a tape that tracks an
// argument, and when devices are compared (Context::check_devices).
std::optional<SumAndResult> normed_linear(const Tensor& x, const Tensor& y, const RowNorm& norm,
                                          const NormedLinear& product);

}  // namespace mixgrad
