#pragma once

#include "autograd/tape.h"
#include "ops/rope/rope.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(
    // y (+)= x turned by the angle, or by -angle when `inverse`.
    void rope_rotate(const Tensor& x, const RopeOptions& options, bool inverse, const GradTarget& y);)
