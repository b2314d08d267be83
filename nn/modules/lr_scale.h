// Parameters that learn at a rate of their own.
//   scale_learning_rates(model.parameters(), {"embed.*=0.1", "layers.0.*=0.5"});
#pragma once

#include <string>
#include <vector>

#include "nn/modules/parameter.h"

namespace mixgrad {

// PATTERN=FACTOR: the learning rate of every parameter whose name the pattern matches (nn/modules/parameter_pattern.h)
// is that of the schedule times the factor, kept as an f32, for every optimizer; weight decay follows it. Of several
// that match a parameter the last counts. Returns how many numbers have a factor other than 1.
// ValueError: no `=`, a factor that is not above 0 and at most 1000, a pattern that matches no parameter, or only
// frozen ones.
std::int64_t scale_learning_rates(ParameterSet& parameters, const std::vector<std::string>& scales);

}  // namespace mixgrad
