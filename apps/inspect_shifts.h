// mixgrad inspect shifts: the lags that shift-mixing layers reach (nn/hsm_paths.h).
#pragma once

#include "nn/decoder.h"

namespace mixgrad::app {

// Prints to stdout: a table, or with `json` one object a lag. ValueError when the model has no such layer.
void inspect_shifts(const Decoder& model, bool json);

}  // namespace mixgrad::app
