// Lanes: the numbers of one vector register, for the few inner loops that the compiler vectorises badly (sums beside
// stores, comparisons). Loops over channels run over multiples of kLaneMultiple, with zeros behind the last.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace mixgrad::cpu {

// An operator outside the library may be compiled for other instructions than the library itself. Each register size
// has a namespace of its own, so that the linker never takes a function of one for the other.
#if defined(__AVX512F__)
inline namespace registers_of_64_bytes {
inline constexpr int kRegisterBytes = 64;
#elif defined(__AVX2__)
inline namespace registers_of_32_bytes {
inline constexpr int kRegisterBytes = 32;
#else
inline namespace registers_of_16_bytes {
inline constexpr int kRegisterBytes = 16;
#endif
inline constexpr std::int64_t kLaneMultiple = 16;  // a multiple of the count of every type on every processor

template <class A>
struct RegisterOf {
  typedef A Type __attribute__((vector_size(kRegisterBytes)));                                       // NOLINT
  typedef A Unaligned __attribute__((vector_size(kRegisterBytes), aligned(alignof(A)), may_alias));  // NOLINT
};

template <class A>
using Lanes = typename RegisterOf<A>::Type;
template <class A>
inline constexpr std::int64_t kLanes = kRegisterBytes / static_cast<std::int64_t>(sizeof(A));

template <class A>
inline Lanes<A> load_lanes(const A* from) {
  return *reinterpret_cast<const typename RegisterOf<A>::Unaligned*>(from);
}
template <class A>
inline void store_lanes(A* to, Lanes<A> x) {
  *reinterpret_cast<typename RegisterOf<A>::Unaligned*>(to) = x;
}
template <class A>
inline Lanes<A> all_lanes(A value) {
  return value - Lanes<A>{};  // one broadcast; a loop over the lanes becomes one insertion each
}

// In a fixed order: the upper half onto the lower, until one is left.
template <class A, std::int64_t Half = kLanes<A> / 2>
inline A sum_of_lanes(Lanes<A> x) {
  if constexpr (Half == 0) {
    return x[0];
  } else {
#if defined(__clang__)  // has no __builtin_shuffle
    Lanes<A> turned;
    for (std::int64_t i = 0; i < kLanes<A>; ++i) turned[i] = x[(i + Half) % kLanes<A>];
    return sum_of_lanes<A, Half / 2>(x + turned);
#else
    using Index = std::conditional_t<sizeof(A) == 4, std::int32_t, std::int64_t>;
    typename RegisterOf<Index>::Type upper;
    for (std::int64_t i = 0; i < kLanes<A>; ++i) upper[i] = static_cast<Index>((i + Half) % kLanes<A>);
    return sum_of_lanes<A, Half / 2>(x + __builtin_shuffle(x, upper));
#endif
  }
}

// The larger; NaN where x is NaN.
inline Lanes<float> at_least(Lanes<float> x, Lanes<float> low) {
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
inline Lanes<float> exp2_nonpositive(Lanes<float> x) {
  typedef std::int32_t Bits __attribute__((vector_size(kRegisterBytes)));  // NOLINT(modernize-use-using)
  const auto all = [](float value) { return all_lanes(value); };
  x = at_least(x, all(-125.0F));
  const Lanes<float> round = all(12582912.0F);  // 1.5 * 2^23: adding it rounds to an integer
  const Lanes<float> shifted = x + round;
  const Lanes<float> r = x - (shifted - round);
  Lanes<float> p = all(1.3264727e-3F);
  p = p * r + all(9.6715130e-3F);
  p = p * r + all(5.5507336e-2F);
  p = p * r + all(2.4022242e-1F);
  p = p * r + all(6.9314700e-1F);
  p = p * r + all(1.0F);
  return (Lanes<float>)((Bits)p + ((Bits)shifted << 23));  // NOLINT: the same bits
}
inline Lanes<double> exp2_nonpositive(Lanes<double> x) {
  for (std::int64_t i = 0; i < kLanes<double>; ++i) x[i] = std::exp2(x[i]);
  return x;
}

}  // inline namespace registers_of_...
}  // namespace mixgrad::cpu
