// The --shortcut option: which hidden states the last layer attends to.
//   2,4,6,8                     hidden=1024,concat=sequence, as in the paper
//   0,1,2(hidden=256,concat=depth)
// The numbers are hidden states: 0 the embedding's output, l that of the l-th layer. concat is sequence, feature or
// depth.
#pragma once

#include <string_view>

#include "nn/config/model_config.h"

namespace mixgrad {

// ValueError: not of this form, an unknown option, a value outside its range. Whether the sources fit the model (below
// its last layer, ascending) is validate()'s business.
ShortcutConfig parse_shortcut_pattern(std::string_view pattern);

}  // namespace mixgrad
