#pragma once

#include "autograd/tape.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(
    // loss [1] and lse [rows] have the accumulation type; count [1] i32: the rows that have a target. A CUDA device
    // that meets a target outside [-1,V) makes the loss NaN.
    void linear_cross_entropy_forward(const Tensor& x, const Tensor& weight, const Tensor& targets, const Tensor& count,
                                      const Tensor& lse, const Tensor& loss);
    // dloss [1]; a gradient may be unwanted.
    void linear_cross_entropy_backward(const Tensor& x, const Tensor& weight, const Tensor& targets,
                                       const Tensor& count, const Tensor& lse, const Tensor& dloss,
                                       const GradTarget& dx, const GradTarget& dweight);
    // The loss, and the gradients for a dloss of 1: dx in the shape and dtype of x, dweight in the accumulation type;
    // one that is undefined is not wanted.
    void linear_cross_entropy_fused(const Tensor& x, const Tensor& weight, const Tensor& targets, const Tensor& loss,
                                    const Tensor& dx, const Tensor& dweight);
    // target (+)= dloss gradient, for such a gradient and the cotangent dloss [1].
    void linear_cross_entropy_scale(const Tensor& gradient, const Tensor& dloss, const GradTarget& target);)

// In builds with CUDA, for tests: in chunks of at most this many rows.
namespace mixgrad::cuda {
void linear_cross_entropy_fused(std::int64_t chunk_rows, const Tensor& x, const Tensor& weight, const Tensor& targets,
                                const Tensor& loss, const Tensor& dx, const Tensor& dweight);
}  // namespace mixgrad::cuda
