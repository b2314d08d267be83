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
                                       const GradTarget& dx, const GradTarget& dweight);)
