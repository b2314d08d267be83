// Elementary functions that a compiler can vectorise, the same code on both devices.
//   f64: the standard library. f32: polynomials without branches, about 1e-7 relative error.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__CUDACC__)
#define MIXGRAD_HD __host__ __device__
#else
#define MIXGRAD_HD
#endif

namespace mixgrad {

// e^x in f32: x = n ln 2 + r, |r| <= ln 2 / 2, a polynomial of degree 6 in r (Cephes expf), times 2^n in two factors
// so that the ends of the range overflow to infinity and flush to zero. NaN stays NaN.
MIXGRAD_HD inline float exp_value(float x) {
  constexpr float kLog2E = 1.44269504088896341F;
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  x = x < -104.0F ? -104.0F : x;
  x = x > 89.0F ? 89.0F : x;
  const float shifted = x * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  std::int32_t bits = 0;
  std::memcpy(&bits, &shifted, sizeof bits);
  const std::int32_t whole = bits - 0x4b400000;  // n as an integer
  const std::int32_t half = whole >> 1;
  const std::int32_t high_bits = (half + 127) << 23;
  const std::int32_t low_bits = (whole - half + 127) << 23;
  float high = 0;
  float low = 0;
  std::memcpy(&high, &high_bits, sizeof high);
  std::memcpy(&low, &low_bits, sizeof low);
  return p * high * low;
}

MIXGRAD_HD inline double exp_value(double x) { return std::exp(x); }

template <class A>
MIXGRAD_HD inline A sigmoid_value(A x) {
  return A(1) / (A(1) + exp_value(-x));
}

}  // namespace mixgrad
