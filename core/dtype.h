// Element types, and the one place that turns a run-time DType into a compile-time type.
//
//   f64   double            checks and references
//   f32   float             training
//   bf16  16-bit storage    arithmetic and accumulation happen in f32 (see acc_t)
//   i32   std::int32_t      tokens and targets; never differentiable
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "core/error.h"
#include "core/numeric/bit_cast.h"

namespace mixgrad {

enum class DType : std::uint8_t { f64, f32, bf16, i32 };

// bfloat16: the upper half of an IEEE float. Conversion rounds to nearest, ties to even; NaN stays NaN.
struct bf16 {
  std::uint16_t bits = 0;

  bf16() = default;
  constexpr explicit bf16(float value) : bits(round(value)) {}
  constexpr explicit bf16(double value) : bf16(round_to_odd(value)) {}
  constexpr operator float() const {  // NOLINT(google-explicit-constructor): reading is always exact
    return bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
  }

  // The bits of the nearest bf16, without a branch, so that loops over it become vectors.
  static constexpr std::uint16_t round(float value) {
    const auto word = bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = word + 0x7fffU + ((word >> 16U) & 1U);
    const bool is_nan = (word & 0x7fffffffU) > 0x7f800000U;
    return static_cast<std::uint16_t>((is_nan ? word | 0x00400000U : rounded) >> 16U);
  }

 private:
  // A float from which a second rounding gives what one rounding of the double gives: towards zero, and odd if inexact.
  static constexpr float round_to_odd(double value) {
    const float near = static_cast<float>(value);
    const double back = near;
    if (!(back != value) || value != value) return near;
    auto word = bit_cast<std::uint32_t>(near);
    const bool outwards = value > 0 ? back > value : back < value;
    if (outwards) --word;
    return bit_cast<float>(word | 1U);
  }
};
static_assert(sizeof(bf16) == 2);

// The type in which sums over elements of T are kept: double for double, float for float and bf16.
template <class T>
using acc_t = std::conditional_t<std::is_same_v<T, double>, double, float>;

// to = value, rounded to T. For loops marked `omp simd`, which GCC 12 leaves scalar when they construct a bf16.
template <class T>
constexpr void assign(T& to, acc_t<T> value) {
  if constexpr (std::is_same_v<T, bf16>) {
    to.bits = bf16::round(value);
  } else {
    to = value;
  }
}

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, double>) return DType::f64;
  if constexpr (std::is_same_v<T, float>) return DType::f32;
  if constexpr (std::is_same_v<T, bf16>) return DType::bf16;
  if constexpr (std::is_same_v<T, std::int32_t>) return DType::i32;
}

constexpr std::size_t dtype_bytes(DType dtype) {
  switch (dtype) {
    case DType::f64: return 8;
    case DType::f32: return 4;
    case DType::bf16: return 2;
    case DType::i32: return 4;
  }
  return 0;
}

constexpr const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::f64: return "f64";
    case DType::f32: return "f32";
    case DType::bf16: return "bf16";
    case DType::i32: return "i32";
  }
  return "?";
}

constexpr bool is_float(DType dtype) { return dtype != DType::i32; }

// Calls f.template operator()<T>() with the C++ type of `dtype`; DTypeError, naming `op`, when it is not a float type.
template <class F>
decltype(auto) dispatch_float(DType dtype, std::string_view op, F&& f) {
  switch (dtype) {
    case DType::f64: return f.template operator()<double>();
    case DType::f32: return f.template operator()<float>();
    case DType::bf16: return f.template operator()<bf16>();
    default: raise<DTypeError>(op, ": the tensor must be f64, f32 or bf16, got ", dtype_name(dtype));
  }
}

// The dtype of acc_t: f64 for f64, else f32.
constexpr DType accumulation_dtype(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

// The same for the types in which parameters and sums are kept: f64 and f32 only.
template <class F>
decltype(auto) dispatch_accumulation(DType dtype, std::string_view op, F&& f) {
  if (dtype == DType::f64) return f.template operator()<double>();
  if (dtype == DType::f32) return f.template operator()<float>();
  raise<DTypeError>(op, ": the tensor must be f64 or f32, got ", dtype_name(dtype));
}

}  // namespace mixgrad
