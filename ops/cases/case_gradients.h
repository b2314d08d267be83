// The gradients of a case in any dtype, on any device: in f64 against central differences, in f32 and bf16 against
// those in f64, which tells what the check in f64 cannot: whether the kernels that train are right.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/cases/cases.h"

namespace mixgrad::test {

inline bool takes_gradient(const Tensor& input) { return input.defined() && is_float(input.dtype()); }

// The inputs, the float ones in `dtype`, or in f32 beside bf16 where their role says so; on the host.
std::vector<Tensor> inputs_as(const OpCase& c, DType dtype);

// The values that the inputs have after rounding to `dtype`, in f64.
std::vector<Tensor> rounded_inputs(const OpCase& c, DType dtype);

struct Results {
  std::vector<Tensor> outputs;
  std::vector<Tensor> gradients;  // of the float inputs, in order; zeros where none arrived
};

inline constexpr std::uint64_t kFirstCotangent = 77;  // output k has the cotangent of seed kFirstCotangent + k

// Forward and backward on `device`, with random cotangents, the same (bf16 numbers) for every dtype. Float inputs all
// have one dtype. The results are on the host.
Results run_with_gradients(const Function& run, const std::vector<Tensor>& inputs, Device device);

// How far a gradient in f32 or bf16 may be from the one in f64: 1e-4, 5e-2. In f64, from the central differences: 1e-7.
double allowed_gradient_error(DType dtype);

// The check of the gradient of one input.
struct GradientRow {
  std::size_t input = 0;         // of the case
  std::string output = "all";    // "output k": with the cotangent of that output alone
  double error = 0;              // relative to the largest gradient; infinity: wrong shape, dtype or NaN
  bool vacuous = false;          // zero in theory: a wrong factor would not show
  bool sabotage_caught = false;  // in f64: a gradient spoilt by 0.1 % was rejected
  std::string detail;            // what is wrong and where; empty when the row passes
  bool pass() const { return detail.empty(); }
};

// The gradient of every float input of a case: in f64 against central differences, with sabotage; in f32 and bf16
// against the gradient in f64 at the rounded inputs, relative to the largest |gradient in f64| of the input, or of the
// case where that is zero in theory. `run` is the case's function, or one that does the same.
std::vector<GradientRow> gradient_rows(const OpCase& c, const Function& run, DType dtype, Device device);
inline std::vector<GradientRow> gradient_rows(const OpCase& c, DType dtype, Device device) {
  return gradient_rows(c, c.run, dtype, device);
}

}  // namespace mixgrad::test
