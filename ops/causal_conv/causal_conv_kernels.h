#pragma once

#include "autograd/tape.h"
#include "ops/causal_conv/causal_conv.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(
    // history may be undefined: zeros. It is only read.
    void causal_conv_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& history,
                             const Tensor& y);
    // Targets may be unwanted; those of weight and bias have the accumulation type.
    void causal_conv_backward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& dy,
                              const GradTarget& dx, const GradTarget& dweight, const GradTarget& dbias);
    // The last inputs of history followed by x become the history.
    void causal_conv_keep(const Tensor& x, const Tensor& history);)
