// Parameters by a pattern of their names, in which * stands for any text, ? for any character and [ab] for one of
// several.
#pragma once

#include <string>
#include <vector>

#include "nn/modules/parameter.h"

namespace mixgrad {

// Those whose name the pattern matches, in their order. ValueError that begins with `what` and names some parameters
// when there is none.
std::vector<Parameter*> matching_parameters(ParameterSet& parameters, const std::string& pattern, const char* what);

}  // namespace mixgrad
