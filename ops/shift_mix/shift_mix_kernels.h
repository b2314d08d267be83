#pragma once

#include "autograd/tape.h"
#include "ops/shift_mix/shift_mix.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(
    // shifts: [H] i32.
    void shift_mix_forward(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& shifts, Boundary boundary,
                           const Tensor& y);
    // Targets may be unwanted; those of a and b have the accumulation type.
    void shift_mix_backward(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& shifts, Boundary boundary,
                            const Tensor& dy, const GradTarget& dx, const GradTarget& da, const GradTarget& db);
    void shift_mix_ring(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& shifts, Boundary boundary,
                        const Tensor& ring, TokenPosition position, const Tensor& y);)

namespace mixgrad::cuda {
// normed_shift_mix_cached() into `made`; false, and nothing is done, where there is no such kernel.
bool normed_shift_mix_ring(const Tensor& x, const Tensor& y, const RowNorm& norm, const Tensor& a, const Tensor& b,
                           const Tensor& shifts, Boundary boundary, const Tensor& ring, TokenPosition position,
                           const SumAndResult& made);
}  // namespace mixgrad::cuda
