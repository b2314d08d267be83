// The heads that mix a token with the one `shift` before it, one by one: those of shift-mixing layers, and the shift
// heads of layers of mixed heads.
//   y_t = a u_t + b u_{t-shift}      u: the layer's normalised input, or a linear of it
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nn/analysis/head_selection.h"

namespace mixgrad {

struct ShiftHead {
  std::int64_t layer = 0;
  std::int64_t head = 0;    // of the layer
  std::string variant;      // "scalar", ...; "mixed" of a layer of mixed heads
  std::int64_t shift = 1;   // tokens
  std::optional<double> a;  // means over the channels of the head; none where a variant has other parameters
  std::optional<double> b;
};

// In order of layers and heads; empty for a model, or a selection, without such heads.
std::vector<ShiftHead> shift_head_list(const Decoder& model, const HeadSelection& selection = {});

}  // namespace mixgrad
