#pragma once

#include "autograd/tape.h"
#include "ops/linear/heads_linear.h"
#include "ops/linear/normed_linear.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(void linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y);
                // Any target may be undefined: not wanted. dweight and dbias have the accumulation type.
                void linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy, const GradTarget& dx,
                                     const GradTarget& dweight, const GradTarget& dbias);)

// In builds with CUDA; false, and nothing is done, where there is no such kernel.
namespace mixgrad::cuda {
// y = gelu(x weight^T + bias)
bool linear_gelu_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y);
// As normed_linear(), into tensors of its own.
bool normed_linear_forward(const Tensor& x, const Tensor& y, const RowNorm& norm, const NormedLinear& product,
                           Tensor& sum, Tensor& result);
// As heads_linear(), into a tensor of its own.
bool heads_linear_forward(std::span<const Tensor> parts, std::span<const std::int64_t> slots, std::int64_t head_dim,
                          const Tensor& weight, const Tensor& bias, Tensor& result);
}  // namespace mixgrad::cuda
