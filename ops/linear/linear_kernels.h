#pragma once

#include "autograd/tape.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(void linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y);
                // Any target may be undefined: not wanted. dweight and dbias have the accumulation type.
                void linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy, const GradTarget& dx,
                                     const GradTarget& dweight, const GradTarget& dbias);)
