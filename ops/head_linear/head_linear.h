// head_linear: an affine map of the last axis, one of its own for each head; of one input, or of two that are added.
//   y[r,h,o] = sum_i x[r,h,i] weight[h,o,i] (+ sum_i z[r,h,i] z_weight[h,o,i]) (+ bias[h,o])
//   x, z: [..., H I] float, or [B,T,H,I] with a row for each head; row views are read in place
//   weight, z_weight: [H,O,I], row views too, so that both may be column halves of one [H,O,2I]
//   bias: [H,O] or [H O], or undefined   y: [..., H O] or [B,T,H,O]; nothing is transposed or copied
//   gradient: dx = dy weight, dz = dy z_weight, dweight[h] = dy[:,h,:]^T x[:,h,:], dz_weight likewise with z,
//             dbias[h,o] = sum_r dy[r,h,o]                                            saves x, weight, z and z_weight
//   cost: 2 R H O I operations forward for each input, twice that backward (R = rows of x)
//   errors: ShapeError when the sizes do not match, DTypeError when the dtypes differ
#pragma once

#include "core/tensor.h"

namespace mixgrad {

Tensor head_linear(const Tensor& x, const Tensor& weight, const Tensor& bias = Tensor());
Tensor head_linear(const Tensor& x, const Tensor& weight, const Tensor& z, const Tensor& z_weight, const Tensor& bias);

}  // namespace mixgrad
