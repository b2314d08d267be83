// The inside of the gradient check, shared by its two forms: the function under test, and the one comparison.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "autograd/gradcheck.h"
#include "core/rng.h"

namespace mixgrad::gradcheck_internal {

using Values = std::vector<double>;

inline constexpr double kSabotage = 1e-3;
inline constexpr double kZeroGradient = 1e-8;  // a numeric gradient below it is only the rounding of the differences
inline constexpr int kAllOutputs = -1;

double largest_of(std::span<const double> values);

// The comparison, for gradients and for their sabotaged copies alike. Anything not finite is infinitely wrong.
double relative_error(std::span<const double> got, std::span<const double> want, double largest);

std::string name_of(const std::vector<std::string>& names, std::size_t i);
void complain(GradcheckRow& row, const std::string& text);
void finish(GradcheckReport& report, GradcheckRow row);

// The function under test with own copies of its inputs, which may be perturbed, and its cotangents.
class Subject {
 public:
  Subject(std::span<const Tensor> given, const TensorFunction& run, std::uint64_t differentiable, std::uint64_t seed,
          Device device);

  int outputs() const { return static_cast<int>(cotangents_.size()); }
  bool takes_part(int output) const { return cotangents_[static_cast<std::size_t>(output)].defined(); }
  std::span<double> at(std::size_t tested_index) const;

  // All f64 outputs, one after the other. Copied, since an output may share the memory of an input.
  void evaluate(Values& values) const;

  // <c, plus - minus> of one output, or of all.
  double product(const Values& plus, const Values& minus, int output) const;

  // The gradient of each tested input by the tape. before: what the gradients' memory holds already and what is to be
  // added to; empty: the memory is filled with NaN and is to be written.
  std::vector<Values> gradients(int output, const std::vector<Values>& before);

  std::vector<Tensor> inputs;
  std::vector<std::size_t> tested;  // which of them
  std::string complaint;            // what the tape did wrong beside the values

 private:
  std::vector<Tensor> inputs_there() const;  // on the device

  TensorFunction run_;
  Device device_;                   // where the function runs; everything here is on the host
  std::vector<Tensor> cotangents_;  // undefined: the output takes no part
  Values cotangent_;                // all of them, one after the other
  std::vector<std::size_t> begins_;
  Values original_;
};

}  // namespace mixgrad::gradcheck_internal
