// The gradients of a case in any dtype, on any device, and how far those of f32 and bf16 are from those of f64: what
// the gradient check in f64 cannot say of the kernels that train.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/cases/cases.h"

namespace mixgrad::test {

inline bool takes_gradient(const Tensor& input) { return input.defined() && is_float(input.dtype()); }

// The inputs, the float ones in `dtype`; on the host.
std::vector<Tensor> inputs_as(const OpCase& c, DType dtype);

// Exact in f64: what the inputs have become by rounding them to `dtype`.
std::vector<Tensor> rounded_inputs(const OpCase& c, DType dtype);

struct Results {
  std::vector<Tensor> outputs;
  std::vector<Tensor> gradients;  // of the float inputs, in order; zeros where none has arrived
};

// Forward and backward on `device`, with random cotangents, the same (bf16 numbers) for every dtype. Float inputs all
// have one dtype. The results are on the host.
Results run_with_gradients(const Function& run, const std::vector<Tensor>& inputs, Device device);

struct GradientError {
  std::size_t input = 0;  // of the case
  double error = 0;  // max |gradient - that in f64 at the rounded inputs| / scale; infinity: wrong shape, type or NaN
  bool vacuous = false;  // zero in theory: a wrong factor would not show
  std::string detail;    // where; empty when the error is allowed
};

double allowed_gradient_error(DType dtype);  // f32, bf16

// Of every float input; the scale is the largest |gradient in f64| of the input, or of the case where that is zero in
// theory. `run` is the case's function, or one that does the same.
std::vector<GradientError> gradient_errors(const OpCase& c, const Function& run, DType dtype, Device device);

}  // namespace mixgrad::test
