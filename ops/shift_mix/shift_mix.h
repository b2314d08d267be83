// shift_mix: each token mixed with the token s before it; every head has its own shift s.
//   z[b,t,c] = x[b,t-s,c],  before the start 0 (Boundary::zero) or x[b,t,c] (Boundary::self);  s = shifts[head of c]
//   y[b,t,c] = a x[b,t,c] + b z[b,t,c],   a and b per head (scalar form) or per channel (vector form)
//   x: [B,T,D] float, a row view is read in place   a, b: [H] or [D]   shifts: H values >= 1   y: [B,T,D]
//   (when H = D both forms are the same)
//   gradient: dx[t] = a dy[t] + b dy[t+s] (t+s < T) (+ b dy[t] where z was x[t]),
//             da = sum dy x,  db = sum dy z over batch, time and, in the scalar form, the channels of the head
//   saves x, a, b
//   cost: reads x twice, writes y; the backward sums over fixed blocks of rows in order: deterministic
//   errors: ShapeError when D is no multiple of H or a, b are neither [H] nor [D]; ValueError for a shift < 1
//   source: Hierarchical Shift Mixing (arXiv 2601.22852), the (a,b) mixer
#pragma once

#include <span>

#include "core/tensor.h"

namespace mixgrad {

enum class Boundary : std::uint8_t { zero, self };

struct ShiftMixOptions {
  std::span<const std::int64_t> shifts;  // one per head
  Boundary boundary = Boundary::zero;
};

Tensor shift_mix(const Tensor& x, const Tensor& a, const Tensor& b, const ShiftMixOptions& options);

// The history of a sequence that is given in pieces: per head a ring of the last s inputs, [B, s, D/H], head after head
// in one buffer [B, sum_h s_h D/H]. Each entry is read before it is overwritten.
//   position: tokens consumed before this call. Not recorded; GradError when x, a or b is tracked.
Tensor shift_mix_cached(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& ring, std::int64_t position,
                        const ShiftMixOptions& options);

}  // namespace mixgrad
