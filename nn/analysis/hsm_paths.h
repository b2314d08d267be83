// Where a shift-mixing model looks: the paths on which a token reaches the one d tokens later.
//
// Without norms and MLPs a layer is x_t <- (1 + a) x_t + b x_{t-s}. A stack of them answers an impulse in channel c, at
// lag d, with
//   weight_c[d] = coefficient of x^d in prod_l (1 + a_l + b_l x^{s_l}),    a, b and s of the channel in each layer,
// and reaches lag d on as many paths as that coefficient is with 1 in place of a and b (0 for a lag out of reach).
// Of a selection only the selected layers count, and of them the channels of the selected head.
#pragma once

#include <cstdint>
#include <vector>

#include "nn/analysis/head_selection.h"

namespace mixgrad {

struct HsmPaths {
  std::vector<std::int64_t> layers;  // which layers are shift mixing
  // Tokens that an output may depend on through these layers, itself included: 1 + sum_l max_h s_{l,h} (the MLPs
  // between the layers let a path change its channel).
  std::int64_t receptive_field = 1;
  // By lag, as far as a channel reaches but at most `lags`; means over the channels that are selected.
  std::vector<double> paths;
  std::vector<double> weights;  // of |weight_c|; empty when a layer has other parameters than a and b
};

// ValueError when a head is selected that lies in other channels in one layer than in another.
HsmPaths hsm_paths(const Decoder& model, std::int64_t lags, const HeadSelection& selection = {});

}  // namespace mixgrad
