#pragma once

#include "autograd/tape.h"
#include "ops/elementwise/unary.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(void unary_forward(UnaryFunction function, const Tensor& x, const Tensor& y);
                void unary_backward(UnaryFunction function, const Tensor& x, const Tensor& dy, const GradTarget& dx);
                void swiglu_forward(const Tensor& gate, const Tensor& up, const Tensor& y);
                // dgate or dup may be undefined: not wanted
                void swiglu_backward(const Tensor& gate, const Tensor& up, const Tensor& dy, const GradTarget& dgate,
                                     const GradTarget& dup);
                void add_forward(const Tensor& a, const Tensor& b, const Tensor& y);)
