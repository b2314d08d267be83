// Checks shared by the operators that look back by a shift for each head (shift, shift_mix).
#pragma once

#include <cstdint>

#include "ops/shift/shift.h"

namespace mixgrad {

// Checks x against the shifts and returns them as a tensor, [H] i32. A shift beyond 2^31 is beyond every sequence too.
Tensor checked_shifts(const char* op, const Tensor& x, const ShiftOptions& options);

// The ring and the position of a cached form.
void check_ring(const char* op, const Tensor& x, const Tensor& ring, TokenPosition position,
                const ShiftOptions& options);

}  // namespace mixgrad
