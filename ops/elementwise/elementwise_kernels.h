#pragma once

#include "autograd/tape.h"
#include "ops/support/dispatch.h"

namespace mixgrad {
enum class Activation : std::uint8_t { gelu, gelu_erf, relu, silu };
}

MIXGRAD_KERNELS(void activation_forward(Activation kind, const Tensor& x, const Tensor& y);
                void activation_backward(Activation kind, const Tensor& x, const Tensor& dy, const GradTarget& dx);
                void swiglu_forward(const Tensor& gate, const Tensor& up, const Tensor& y);
                // dgate or dup may be undefined: not wanted
                void swiglu_backward(const Tensor& gate, const Tensor& up, const Tensor& dy, const GradTarget& dgate,
                                     const GradTarget& dup);
                void add_forward(const Tensor& a, const Tensor& b, const Tensor& y);)
