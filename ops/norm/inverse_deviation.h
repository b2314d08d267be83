// 1 / sqrt(v) of a variance or mean square v > 0, for all norms on both devices.
#pragma once

#include <cmath>

#include "core/numeric/vec_math.h"

namespace mixgrad {

// NaN where v is not finite. Of squares that overflow, 1 / sqrt(inf) is 0, and the norm of rows that are far too large
// would look like that of zeros: a model whose weights have exploded would give equal logits and a plausible loss.
template <class A>
MIXGRAD_HD A inverse_deviation(A v) {
  return A(1) / std::sqrt(v) + A(0) * v;
}

}  // namespace mixgrad
