// shift: each head's tokens as they were s earlier; every head has its own shift s.
//   z[b,t,c] = x[b,t-s,c],  before the start 0 (Boundary::zero) or x[b,t,c] (Boundary::self);  s = shifts[head of c]
//   x: [B,T,D] float, a row view is read in place   shifts: H values >= 1, may reach beyond T   z: [B,T,D]
//   gradient: dx[t] = dz[t+s] (t+s < T) (+ dz[t] where z was x[t])         saves nothing but the shifts
//   cost: a copy; the same in the backward
//   errors: ShapeError when D is no multiple of H; ValueError for a shift < 1
//   source: Hierarchical Shift Mixing (arXiv 2601.22852): z is the second argument of every mixing f(u, z)
#pragma once

#include <cstdint>
#include <span>

#include "core/numeric/token_position.h"
#include "core/tensor.h"

namespace mixgrad {

enum class Boundary : std::uint8_t { zero, self };

struct ShiftOptions {
  std::span<const std::int64_t> shifts;  // one per head
  Boundary boundary = Boundary::zero;
};

Tensor shift(const Tensor& x, const ShiftOptions& options);

// The history of a sequence that is given in pieces: per head a ring of the last s inputs, [B, s, D/H], head after head
// in one buffer [B, sum_h s_h D/H]. Each entry is read before it is overwritten.
//   position: tokens consumed before this call. Not recorded; GradError when x is tracked.
Tensor shift_cached(const Tensor& x, const Tensor& ring, TokenPosition position, const ShiftOptions& options);

// Elements of a ring for one sequence of width D: sum_h s_h D/H.
std::int64_t ring_elements(std::int64_t width, std::span<const std::int64_t> shifts);

}  // namespace mixgrad
