#include "nn/modules/freeze.h"

#include <cstddef>

#include "core/error.h"
#include "nn/modules/parameter_pattern.h"

namespace mixgrad {

std::int64_t freeze(ParameterSet& parameters, const std::vector<std::string>& patterns) {
  for (const std::string& pattern : patterns) {
    for (Parameter* parameter : matching_parameters(parameters, pattern, "freeze")) parameter->trainable = false;
  }
  std::int64_t frozen = 0;
  std::size_t count = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i].trainable) continue;
    frozen += parameters[i].shape.numel();
    ++count;
  }
  if (!patterns.empty() && count == parameters.size()) {
    raise<ValueError>("freeze: at least one parameter must be left to train; the patterns match all ", count,
                      "; give fewer or narrower ones");
  }
  return frozen;
}

}  // namespace mixgrad
