// How long a Mamba head remembers. State n of a channel shrinks by exp(dt A) with each token, A = -exp(A_log), so to
// 1/e in
//   tau[d,n] = 1 / (softplus(dt_proj.bias[d]) exp(A_log[d,n]))      tokens
// at the step dt that the channel takes when nothing in the input changes it. An input can make the step longer or
// shorter: these are the times that the model has at rest, not those of a text.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "nn/config/model_config.h"
#include "nn/modules/parameter.h"

namespace mixgrad {

// ln(1 + e^x)
inline double softplus(double x) { return x > 20 ? x : std::log1p(std::exp(x)); }

struct MambaDecay {
  std::int64_t layer = 0;
  std::int64_t head = 0;         // query head of the layer
  std::vector<double> shortest;  // tokens, per inner channel: of its state that is forgotten first
  std::vector<double> longest;   // and last
};

// All Mamba heads of a model, in order.
std::vector<MambaDecay> mamba_decays(const ParameterSet& parameters, const ModelConfig& config);

}  // namespace mixgrad
