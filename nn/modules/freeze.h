// Parameters that a training run leaves as they are.
//   freeze(model.parameters(), {"embed.*", "layers.0.*"});
#pragma once

#include <string>
#include <vector>

#include "nn/modules/parameter.h"

namespace mixgrad {

// Freezes every parameter whose name one of the patterns matches, in which * stands for any text, ? for any character
// and [ab] for one of several. A frozen parameter gets no gradient and stands outside the gradient's norm, clipping,
// weight decay and the optimizer. Returns how many numbers are frozen. To be called before the optimizer is made.
// ValueError: a pattern that matches no parameter, or patterns that leave none to train.
std::int64_t freeze(ParameterSet& parameters, const std::vector<std::string>& patterns);

}  // namespace mixgrad
