#include "nn/training/finite.h"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace mixgrad {
namespace {

std::string describe(const Tensor& tensor, std::int64_t at) {
  std::ostringstream text;
  text << ", " << dtype_name(tensor.dtype()) << " " << tensor.shape() << ": element " << at << " is " << tensor.at(at);
  return text.str();
}

}  // namespace

std::int64_t first_not_finite(const Tensor& given) {
  if (!is_float(given.dtype())) return -1;
  const Tensor tensor = given.to(kCpu);
  return dispatch_float(tensor.dtype(), "finite", [&]<class T>() -> std::int64_t {
    for (std::int64_t r = 0; r < tensor.rows(); ++r) {
      const T* row = tensor.data<T>() + r * tensor.row_stride();
      for (std::int64_t c = 0; c < tensor.cols(); ++c) {
        if (!std::isfinite(static_cast<acc_t<T>>(row[c]))) return r * tensor.cols() + c;
      }
    }
    return -1;
  });
}

void FiniteWatch::look(const TapeEvent& event, const std::string& what, const Tensor& tensor) {
  if (!first_.empty()) return;
  const std::int64_t at = first_not_finite(tensor);
  if (at < 0) return;
  first_ = what + event.spec->name + " (operator " + std::to_string(event.entry + 1) + " of the tape" +
           (event.entry < parameters_of_.size() ? parameters_of_[event.entry] : "") + ")" + describe(tensor, at);
}

// The names of the parameters show the layer.
void FiniteWatch::note_parameters(const TapeEvent& event) {
  std::string names;
  for (int i = 0; i < event.spec->inputs; ++i) {
    const std::int32_t leaf = event.leaves[static_cast<std::size_t>(i)];
    if (leaf < 0 || static_cast<std::size_t>(leaf) >= parameters_.size()) continue;
    names += (names.empty() ? "" : ", ") + parameters_[static_cast<std::size_t>(leaf)].name;
  }
  if (!names.empty()) {
    last_names_ = names;
    names = ", with " + names;
  } else if (!last_names_.empty()) {
    names = ", after " + last_names_;
  }
  if (event.entry == 0) parameters_of_.clear();  // a new tape
  parameters_of_.resize(std::max(parameters_of_.size(), event.entry));
  parameters_of_.push_back(names);
}

void FiniteWatch::output(const TapeEvent& event, int k, const Tensor& value) {
  if (k == 0) note_parameters(event);
  look(event, event.spec->outputs > 1 ? "output " + std::to_string(k) + " of " : "the output of ", value);
}

void FiniteWatch::gradient(const TapeEvent& event, int input, const Tensor& gradient) {
  look(event, "the gradient of input " + std::to_string(input) + " of ", gradient);
}

std::string first_parameter_not_finite(const ParameterSet& parameters) {
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::int64_t at = first_not_finite(parameters[i].value);
    if (at >= 0) return "parameter " + parameters[i].name + describe(parameters[i].value, at);
  }
  return {};
}

}  // namespace mixgrad
