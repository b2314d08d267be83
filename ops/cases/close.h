// How close two tensors are, and where they are not.
#pragma once

#include <cstdint>
#include <string>

#include "core/tensor.h"

namespace mixgrad::test {

double largest_of(const Tensor& tensor);  // the largest |x|; 0 for no elements

struct Difference {
  double error = 0;     // the largest |got - want|; infinity where one of them is not finite
  std::int64_t at = 0;  // the element that has it
};
Difference largest_difference(const Tensor& got, const Tensor& want);

// Empty when |got - want| <= tolerance scale everywhere; else where and by how much it is not.
std::string not_close_to_scale(const Tensor& got, const Tensor& want, double tolerance, double scale);

// The same with the largest |want| as the scale, but at least 1.
std::string not_close(const Tensor& got, const Tensor& want, double tolerance);

// How far the same formula in this dtype and in f64 may differ, relative to the largest value: f64 1e-12, f32 2e-5,
// bf16 3e-2.
double dtype_tolerance(DType dtype);

}  // namespace mixgrad::test
