// Functions of whole vectors (core/numeric/simd.h) for loops over channels, which run over multiples of kLaneMultiple
// with zeros behind the last channel.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "core/numeric/simd.h"

namespace mixgrad::cpu {

inline namespace MIXGRAD_VECTORS {

inline constexpr std::int64_t kLaneMultiple = 16;  // a multiple of the lanes of every type on every processor

// In a fixed order: the upper half onto the lower, until one is left.
template <class A, std::int64_t Half = kLanes<A> / 2>
inline A sum_of_lanes(Vector<A> x) {
  if constexpr (Half == 0) {
    return x[0];
  } else {
#if defined(__clang__)  // has no __builtin_shuffle
    Vector<A> turned;
    for (std::int64_t i = 0; i < kLanes<A>; ++i) turned[i] = x[(i + Half) % kLanes<A>];
    return sum_of_lanes<A, Half / 2>(x + turned);
#else
    using Index = std::conditional_t<sizeof(A) == 4, std::int32_t, std::int64_t>;
    Vector<Index> upper;
    for (std::int64_t i = 0; i < kLanes<A>; ++i) upper[i] = static_cast<Index>((i + Half) % kLanes<A>);
    return sum_of_lanes<A, Half / 2>(x + __builtin_shuffle(x, upper));
#endif
  }
}

// The larger; NaN where x is NaN.
inline Vector<float> at_least(Vector<float> x, Vector<float> low) {
#if defined(__AVX512F__)
  return _mm512_max_ps(low, x);
#elif defined(__AVX2__)
  return _mm256_max_ps(low, x);
#else
  return x < low ? low : x;
#endif
}

// 2^x for x <= 0, NaN for NaN. f32: at least 2^-125 (never zero); x = n + r, |r| <= 1/2, and 2^r = 1 + r q(r) by a
// polynomial whose error vanishes with r (1e-7 at most): what is near one is exact to rounding.
inline Vector<float> exp2_nonpositive(Vector<float> x) {
  typedef std::int32_t Bits __attribute__((vector_size(kVectorBytes)));  // NOLINT(modernize-use-using)
  const auto all = [](float value) { return broadcast(value); };
  x = at_least(x, all(-125.0F));
  const Vector<float> round = all(12582912.0F);  // 1.5 * 2^23: adding it rounds to an integer
  const Vector<float> shifted = x + round;
  const Vector<float> r = x - (shifted - round);
  Vector<float> p = all(1.3264727e-3F);
  p = p * r + all(9.6715130e-3F);
  p = p * r + all(5.5507336e-2F);
  p = p * r + all(2.4022242e-1F);
  p = p * r + all(6.9314700e-1F);
  p = p * r + all(1.0F);
  return (Vector<float>)((Bits)p + ((Bits)shifted << 23));  // NOLINT: the same bits
}
inline Vector<double> exp2_nonpositive(Vector<double> x) {
  for (std::int64_t i = 0; i < kLanes<double>; ++i) x[i] = std::exp2(x[i]);
  return x;
}

}  // namespace MIXGRAD_VECTORS
}  // namespace mixgrad::cpu
