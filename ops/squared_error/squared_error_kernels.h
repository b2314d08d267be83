#pragma once

#include "autograd/tape.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(
    // loss [1] has the accumulation type.
    void squared_error_forward(const Tensor& x, const Tensor& target, const Tensor& loss);
    // A gradient may be unwanted.
    void squared_error_backward(const Tensor& x, const Tensor& target, const Tensor& dloss, const GradTarget& dx,
                                const GradTarget& dtarget);)
