#pragma once

#include "autograd/tape.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(
    // y is written, or with `add` added to. bias may be undefined.
    void head_linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, bool add, const Tensor& y);
    // One input and its weight; any target may be undefined: not wanted. dweight has the accumulation type.
    void head_linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy, const GradTarget& dx,
                              const GradTarget& dweight);
    void head_linear_bias_backward(const Tensor& dy, const GradTarget& dbias);)
