#pragma once

#include "autograd/tape.h"
#include "ops/shift/shift.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(
    // shifts: [H] i32.
    void shift_forward(const Tensor& x, const Tensor& shifts, Boundary boundary, const Tensor& z);
    void shift_backward(const Tensor& dz, const Tensor& shifts, Boundary boundary, const GradTarget& dx);
    void shift_ring(const Tensor& x, const Tensor& shifts, Boundary boundary, const Tensor& ring,
                    TokenPosition position, const Tensor& z);)
