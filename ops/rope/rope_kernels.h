#pragma once

#include "autograd/tape.h"
#include "ops/rope/rope.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(
    // y (+)= x turned by the angle, or by -angle when `inverse`.
    void rope_rotate(const Tensor& x, const RopeOptions& options, bool inverse, const GradTarget& y);)

namespace mixgrad::cuda {
// cos and sin side by side, [at least `positions`, head_dim/2, 2] of f64 or f32, in memory that stays for ever. Built
// at the first call for so many positions, which cannot be captured in a graph (DeviceError).
Tensor rope_angles(const RopeOptions& options, std::int64_t positions, DType dtype, Device device);
}  // namespace mixgrad::cuda
