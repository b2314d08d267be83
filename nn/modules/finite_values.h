// Numbers that are not finite in a model: in its parameters, and in what it computes.
//
//   require_finite_logits(model.logits(tokens), model.parameters(), "generate");
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.h"
#include "nn/modules/parameter.h"

namespace mixgrad {

// A model computed a number that is infinite or NaN.
struct NotFinite : Error {
  using Error::Error;
};

// Index (row-major) of the first element that is infinite or NaN; -1 when there is none. Integers are finite.
std::int64_t first_not_finite(const Tensor& tensor);

// "parameter layers.0.norm1.weight, f32 [128]: element 3 is inf", or empty.
std::string first_parameter_not_finite(const ParameterSet& parameters);

// "the largest parameter is 3.1e+18, element 5 of layers.0.mlp.up.weight": where to look when all of them are finite
// and what is computed from them is not.
std::string largest_parameter(const ParameterSet& parameters);

// NotFinite, "OP: the logits must be finite; ...", naming a parameter.
[[noreturn]] void raise_not_finite(std::string_view op, std::string_view what, double value,
                                   const ParameterSet& parameters);
void require_finite_logits(const Tensor& logits, const ParameterSet& parameters, std::string_view op);

}  // namespace mixgrad
