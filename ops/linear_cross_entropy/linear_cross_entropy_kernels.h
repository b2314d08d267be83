#pragma once

#include "autograd/tape.h"
#include "ops/dispatch.h"

MIXGRAD_KERNELS(
    // loss [1] and lse [rows] have the accumulation type; `count` rows have a target.
    void linear_cross_entropy_forward(const Tensor& x, const Tensor& weight, const Tensor& targets, std::int64_t count,
                                      const Tensor& lse, const Tensor& loss);
    // dloss [1]; a target may be unwanted.
    void linear_cross_entropy_backward(const Tensor& x, const Tensor& weight, const Tensor& targets, std::int64_t count,
                                       const Tensor& lse, const Tensor& dloss, const GradTarget& dx,
                                       const GradTarget& dweight);)
