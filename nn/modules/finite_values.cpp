#include "nn/modules/finite_values.h"
#include "core/numeric/unsigned_nan.h"

#include <cmath>
#include <sstream>

namespace mixgrad {

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

std::string first_parameter_not_finite(const ParameterSet& parameters) {
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Tensor& value = parameters[i].value;
    const std::int64_t at = first_not_finite(value);
    if (at < 0) continue;
    std::ostringstream text;
    text << "parameter " << parameters[i].name << ", " << dtype_name(value.dtype()) << " " << value.shape()
         << ": element " << at << " is " << unsigned_nan(value.at(at));
    return text.str();
  }
  return {};
}

std::string largest_parameter(const ParameterSet& parameters) {
  std::size_t which = 0;
  std::int64_t where = 0;
  double largest = -1;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::vector<double> values = parameters[i].value.to_vector();
    for (std::size_t at = 0; at < values.size(); ++at) {
      if (std::abs(values[at]) <= largest) continue;
      largest = std::abs(values[at]);
      which = i;
      where = static_cast<std::int64_t>(at);
    }
  }
  if (largest < 0) return "the model has no parameters";
  std::ostringstream text;
  text << "the largest parameter is " << parameters[which].value.at(where) << ", element " << where << " of "
       << parameters[which].name;
  return text.str();
}

void raise_not_finite(std::string_view op, std::string_view what, double value, const ParameterSet& parameters) {
  const std::string parameter = first_parameter_not_finite(parameters);
  raise<NotFinite>(op, ": ", what, " must be finite; found ", unsigned_nan(value), "; ",
                   parameter.empty() ? "every parameter is finite, and " + largest_parameter(parameters) : parameter,
                   "; take another checkpoint");
}

void require_finite_logits(const Tensor& logits, const ParameterSet& parameters, std::string_view op) {
  const std::int64_t at = first_not_finite(logits);
  if (at >= 0) raise_not_finite(op, "the logits", logits.to(kCpu).at(at), parameters);
}

}  // namespace mixgrad
