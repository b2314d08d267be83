// The part of mixgrad inspect attention that is about shift mixing.
#pragma once

#include "nn/analysis/head_selection.h"

namespace mixgrad::app {

// Prints to stdout, as tables or with `json` one object a line: the heads that mix a token with an earlier one, and the
// lags that shift-mixing layers reach. Nothing for a model, or a selection, without such heads.
void print_shifts(const Decoder& model, const HeadSelection& selection, bool json);

}  // namespace mixgrad::app
