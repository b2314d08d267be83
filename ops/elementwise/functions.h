// f and f' of the elementwise functions, each once, for both devices. A is float or double.
#pragma once

#include "core/numeric/vec_math.h"

namespace mixgrad::functions {

// tanh form: with u = sqrt(2/pi) (x + 0.044715 x^3), 1 + tanh(u) = 2 sigmoid(2u), so y = x sigmoid(2u): no
// cancellation.
struct Gelu {
  static constexpr double kScale = 2 * 0.797884560802865355879892119869;  // 2 sqrt(2/pi)
  static constexpr double kCubic = 0.044715;

  template <class A>
  MIXGRAD_HD static A f(A x) {
    return x * sigmoid_value(A(kScale) * (x + A(kCubic) * x * x * x));
  }
  template <class A>
  MIXGRAD_HD static A df(A x) {
    const A s = sigmoid_value(A(kScale) * (x + A(kCubic) * x * x * x));
    return s + x * s * (A(1) - s) * A(kScale) * (A(1) + A(3 * kCubic) * x * x);
  }
};

struct GeluErf {
  static constexpr double kSqrtHalf = 0.707106781186547524400844362105;
  static constexpr double kInvSqrt2Pi = 0.398942280401432677939946059934;

  template <class A>
  MIXGRAD_HD static A f(A x) {
    return A(0.5) * x * (A(1) + std::erf(x * A(kSqrtHalf)));
  }
  template <class A>
  MIXGRAD_HD static A df(A x) {
    return A(0.5) * (A(1) + std::erf(x * A(kSqrtHalf))) + x * A(kInvSqrt2Pi) * exp_value(A(-0.5) * x * x);
  }
};

struct Relu {
  template <class A>
  MIXGRAD_HD static A f(A x) {
    return x < A(0) ? A(0) : x;  // NaN stays NaN
  }
  template <class A>
  MIXGRAD_HD static A df(A x) {
    return x > A(0) ? A(1) : A(0);
  }
};

struct Silu {
  template <class A>
  MIXGRAD_HD static A f(A x) {
    return x * sigmoid_value(x);
  }
  template <class A>
  MIXGRAD_HD static A df(A x) {
    const A s = sigmoid_value(x);
    return s * (A(1) + x * (A(1) - s));
  }
};

// log(1 + u) for u in [0,1]. f32: 2 atanh(u / (2 + u)) by a polynomial, 4e-9 relative error before rounding.
MIXGRAD_HD inline float log1p_unit(float u) {
  const float s = u / (2.0F + u);
  const float z = s * s;
  float p = 1.4089168e-1F;
  p = p * z + 1.3980301e-1F;
  p = p * z + 2.0012455e-1F;
  p = p * z + 3.3333157e-1F;
  return 2.0F * s * (p * z + 1.0F);
}
MIXGRAD_HD inline double log1p_unit(double u) { return std::log1p(u); }

// log(1 + e^x) without overflow or cancellation, and exactly x above 20 (as PyTorch's).
struct Softplus {
  static constexpr double kLinear = 20;

  template <class A>
  MIXGRAD_HD static A f(A x) {
    const A positive = x < A(0) ? A(0) : x;  // NaN stays NaN
    const A rest = log1p_unit(exp_value(x < A(0) ? x : -x));
    return x > A(kLinear) ? x : positive + rest;
  }
  template <class A>
  MIXGRAD_HD static A df(A x) {
    return x > A(kLinear) ? A(1) : sigmoid_value(x);
  }
};

}  // namespace mixgrad::functions
