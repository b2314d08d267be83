#pragma once

#include "autograd/tape.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(void linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y);
                // Any target may be undefined: not wanted. dweight and dbias have the accumulation type.
                void linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy, const GradTarget& dx,
                                     const GradTarget& dweight, const GradTarget& dbias);)

// In builds with CUDA: y = gelu(x weight^T + bias), where that is one kernel; false where it is not, and nothing is
// done.
namespace mixgrad::cuda {
bool linear_gelu_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y);
}
