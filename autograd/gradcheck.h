// The gradient check: the gradients of any function of tensors (an operator, a mixer, a whole model) against central
// differences, in f64.
//
//   numeric[i] = sum_k <c_k, f_k(x + h e_i) - f_k(x - h e_i)> / 2h,   h = step max(1, |x[i]|)
//   error      = max_i |analytic[i] - numeric[i]| / max_i |numeric[i]|
//
// The cotangents c_k are normal random numbers: with ones, a softmax whose backward is broken passes, since its rows
// sum to one. Each input is checked
//   - with the cotangents of all outputs, and with that of each output alone (the others absent);
//   - with its gradient *written* into memory full of NaN, and *added* to memory full of noise;
//   - and the check checks itself: the gradient is spoilt by 0.1 % in three ways (all of it, one element, one row), and
//     the same comparison must reject each.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace mixgrad {

// Must give the same values each time it is called with the same inputs. Outputs that are not f64 do not take part.
using TensorFunction = std::function<std::vector<Tensor>(std::span<const Tensor>)>;

struct GradcheckOptions {
  double tolerance = 1e-7;
  double step = 1e-5;
  std::uint64_t seed = 1;                            // of cotangents, noise and the elements that sabotage spoils
  std::uint64_t differentiable = ~std::uint64_t{0};  // bit i: input i is checked
  std::vector<std::string> names = {};               // of the inputs; "input i" where there is none
  Device device = kCpu;                              // where the function runs; inputs may be anywhere
};

// One input (or direction), with the cotangents of one choice of outputs.
struct GradcheckRow {
  std::string input;
  std::string output;             // "all", or "output k" when only its cotangent is given
  double max_rel_error = 0;       // see above
  double accumulation_error = 0;  // of noise + gradient, relative to the largest |gradient|; allowed is 1e-12
  double largest = 0;             // largest |numeric gradient|
  bool vacuous = false;           // the gradient is identically zero: a wrong factor would not show
  bool sabotage_caught = false;   // false in a vacuous row
  bool pass = false;
  std::string detail;  // what is wrong; empty when it passes
};

struct GradcheckReport {
  std::vector<GradcheckRow> rows;
  double worst = 0;  // largest max_rel_error of the rows that are not vacuous
  bool pass = true;

  std::string failures() const;  // one line for each row that does not pass; empty when all do
};

// inputs: f64, each element perturbed in turn; i32 left alone; an undefined one (optional, not given) is skipped.
// Cost: two forward passes for each element of the inputs. ValueError for an f32 or bf16 input.
GradcheckReport gradcheck(std::span<const Tensor> inputs, const TensorFunction& run,
                          const GradcheckOptions& options = {});

struct GradcheckDirectionOptions {
  double tolerance = 1e-8;
  int directions = 3;        // of all inputs together
  bool each_input = true;    // and one more for each input alone, so that a failure names it
  double first_step = 0.03;  // halved nine times
  std::uint64_t seed = 1;
  std::uint64_t differentiable = ~std::uint64_t{0};
  std::vector<std::string> names = {};
  Device device = kCpu;  // where the function runs
};

// For functions of too many elements: along random directions d, <gradient, d> against d f(x + t d) / dt. The
// differences at ten steps are extrapolated to zero (Ridders 1982), so no step has to be chosen and 1e-8 is within
// reach; d has the scale of each input. The error is relative to max(|<g,d>|, sqrt(sum (g_i d_i)^2)), so that a product
// that happens to cancel neither fails nor hides anything. Sabotaged too: by a factor, and one element where one input
// moves alone. Cost: one forward and backward pass, then 20 forward passes for each direction.
GradcheckReport gradcheck_direction(std::span<const Tensor> inputs, const TensorFunction& run,
                                    const GradcheckDirectionOptions& options = {});

}  // namespace mixgrad
