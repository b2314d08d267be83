#pragma once

#include "autograd/tape.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(void gate_blend_forward(const Tensor& gate, const Tensor& u, const Tensor& z, const Tensor& y);
                // Any target may be undefined: not wanted.
                void gate_blend_backward(const Tensor& gate, const Tensor& u, const Tensor& z, const Tensor& dy,
                                         const GradTarget& dgate, const GradTarget& du, const GradTarget& dz);)
