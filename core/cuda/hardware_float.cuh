// f32 arithmetic whose exponential and division are the hardware's approximations (relative error about 1e-6): for
// elementwise functions of bf16 values, whose results are rounded to 8 bits. With the polynomials of f32 such functions
// reached half of the memory's bandwidth.
#pragma once

#include <type_traits>

#include "core/dtype.h"
#include "core/numeric/vec_math.h"

namespace mixgrad::cuda {

struct HardwareFloat {
  float value = 0;

  HardwareFloat() = default;
  MIXGRAD_HD explicit HardwareFloat(float x) : value(x) {}
  MIXGRAD_HD operator float() const { return value; }  // NOLINT(google-explicit-constructor): exact

  friend MIXGRAD_HD HardwareFloat operator-(HardwareFloat x) { return HardwareFloat(-x.value); }
  friend MIXGRAD_HD HardwareFloat operator+(HardwareFloat x, HardwareFloat y) {
    return HardwareFloat(x.value + y.value);
  }
  friend MIXGRAD_HD HardwareFloat operator-(HardwareFloat x, HardwareFloat y) {
    return HardwareFloat(x.value - y.value);
  }
  friend MIXGRAD_HD HardwareFloat operator*(HardwareFloat x, HardwareFloat y) {
    return HardwareFloat(x.value * y.value);
  }
  friend MIXGRAD_HD HardwareFloat operator/(HardwareFloat x, HardwareFloat y) {
#if defined(__CUDA_ARCH__)
    return HardwareFloat(__fdividef(x.value, y.value));
#else
    return HardwareFloat(x.value / y.value);
#endif
  }
  friend MIXGRAD_HD bool operator<(HardwareFloat x, HardwareFloat y) { return x.value < y.value; }
  friend MIXGRAD_HD bool operator>(HardwareFloat x, HardwareFloat y) { return x.value > y.value; }
};

MIXGRAD_HD inline HardwareFloat exp_value(HardwareFloat x) {
#if defined(__CUDA_ARCH__)
  return HardwareFloat(__expf(x.value));
#else
  return HardwareFloat(mixgrad::exp_value(x.value));
#endif
}

// log(1 + u) for u in [0,1], by the polynomial of functions::log1p_unit: a logarithm of 1 + u would lose a small u.
MIXGRAD_HD inline HardwareFloat log1p_unit(HardwareFloat u) {
  const HardwareFloat s = u / HardwareFloat(2.0F + u.value);
  const float z = s.value * s.value;
  const float p = ((1.4089168e-1F * z + 1.3980301e-1F) * z + 2.0012455e-1F) * z + 3.3333157e-1F;
  return HardwareFloat(2.0F * s.value * (p * z + 1.0F));
}

// The type in which elementwise functions of T compute.
template <class T>
using function_t = std::conditional_t<std::is_same_v<T, bf16>, HardwareFloat, acc_t<T>>;

}  // namespace mixgrad::cuda
