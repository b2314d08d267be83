#pragma once

#include "autograd/tape.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(
    // y and sum are both defined (sum = x + y, normed = norm(sum)) or both undefined. inv_rms: [rows]. x and sum may be
    // f32 where y and normed are bf16.
    void rms_norm_forward(const Tensor& x, const Tensor& y, const Tensor& weight, double eps, const Tensor& sum,
                          const Tensor& normed, const Tensor& inv_rms);
    // d (+)= dsum + gradient of the norm at x, given dnormed, and the same for dy (in the dtype of dnormed); dsum may
    // be undefined; d, dy, dweight may be unwanted, but not d alone.
    void rms_norm_backward(const Tensor& x, const Tensor& weight, const Tensor& inv_rms, const Tensor& dnormed,
                           const Tensor& dsum, const GradTarget& d, const GradTarget& dy, const GradTarget& dweight);)
