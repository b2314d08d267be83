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

// The type in which elementwise functions of T compute.
template <class T>
using function_t = std::conditional_t<std::is_same_v<T, bf16>, HardwareFloat, acc_t<T>>;

}  // namespace mixgrad::cuda
