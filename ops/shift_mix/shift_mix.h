// shift_mix: each token mixed with the token s before it; every head has its own shift s.
//   z[b,t,c] = x[b,t-s,c],  before the start 0 (Boundary::zero) or x[b,t,c] (Boundary::self);  s = shifts[head of c]
//   y[b,t,c] = a x[b,t,c] + b z[b,t,c],   a and b per head (scalar form) or per channel (vector form)
//   x: [B,T,D] float, a row view is read in place   a, b: [H] or [D]   shifts: H values >= 1   y: [B,T,D]
//   (when H = D both forms are the same)
//   gradient: dx[t] = a dy[t] + b dy[t+s] (t+s < T) (+ b dy[t] where z was x[t]),
//             da = sum dy x,  db = sum dy z over batch, time and, in the scalar form, the channels of the head
//   saves x, a, b
//   cost: reads x twice, writes y; the backward sums over fixed blocks of rows in order: deterministic
//   errors: ShapeError when D is no multiple of H or a, b are neither [H] nor [D]; ValueError for a shift < 1;
//           DTypeError, DeviceError when a or b has another dtype or device than x
//   source: Hierarchical Shift Mixing (arXiv 2601.22852), the (a,b) mixer
#pragma once

#include <optional>

#include "ops/norm/row_norm.h"
#include "ops/shift/shift.h"

namespace mixgrad {

Tensor shift_mix(const Tensor& x, const Tensor& a, const Tensor& b, const ShiftOptions& options);

// The same for a sequence given in pieces; ring and position as in shift_cached. Not recorded; GradError when x, a or b
// is tracked.
Tensor shift_mix_cached(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& ring, TokenPosition position,
                        const ShiftOptions& options);

// One token of each sequence, with the norm before it, in one kernel on a CUDA device: sum = x + y,
// result = shift_mix_cached(norm(sum) in the dtype of a). x: [B,1,D]   y: likewise or undefined (sum is x then).
// nullopt, and nothing is done, where there is no such kernel: on a CPU, for several tokens, in f64, for more than
// 1,024 channels, under a tape that tracks an argument, and when devices are compared (Context::check_devices).
std::optional<SumAndResult> normed_shift_mix_cached(const Tensor& x, const Tensor& y, const RowNorm& norm,
                                                    const Tensor& a, const Tensor& b, const Tensor& ring,
                                                    TokenPosition position, const ShiftOptions& options);

}  // namespace mixgrad
