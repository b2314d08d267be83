#include "nn/training/diagnosis/finite.h"
#include "core/numeric/unsigned_nan.h"

#include <algorithm>
#include <sstream>

namespace mixgrad {
namespace {

std::string describe(const Tensor& tensor, std::int64_t at) {
  std::ostringstream text;
  text << ", " << dtype_name(tensor.dtype()) << " " << tensor.shape() << ": element " << at << " is "
       << unsigned_nan(tensor.at(at));
  return text.str();
}

}  // namespace

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

}  // namespace mixgrad
