#include "nn/analysis/mamba_decay.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "nn/config/kinds/mixed_heads.h"

namespace mixgrad {

std::vector<MambaDecay> mamba_decays(const ParameterSet& parameters, const ModelConfig& config) {
  std::vector<MambaDecay> heads;
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    const auto* layer = config.layers[l].get_if<MixedHeadsConfig>();
    if (layer == nullptr || layer->recurrent_groups.empty()) continue;
    const std::string prefix = "layers." + std::to_string(l) + ".mixer.mamba.";
    const Tensor& a_log = parameters.at(prefix + "A_log").value;        // [R,di,N]
    const Tensor& bias = parameters.at(prefix + "dt_proj.bias").value;  // [R,di]
    const std::int64_t channels = a_log.dim(1);
    const std::int64_t states = a_log.dim(2);
    std::int64_t r = 0;
    for (const std::int64_t group : layer->recurrent_groups) {
      for (std::int64_t h = 0; h < layer->heads_per_group(); ++h, ++r) {
        MambaDecay decay{static_cast<std::int64_t>(l), group * layer->heads_per_group() + h, {}, {}};
        for (std::int64_t d = r * channels; d < (r + 1) * channels; ++d) {
          double shortest = std::numeric_limits<double>::infinity();
          double longest = 0;
          for (std::int64_t n = 0; n < states; ++n) {
            const double tau = 1 / (softplus(bias.at(d)) * std::exp(a_log.at(d * states + n)));
            shortest = std::min(shortest, tau);
            longest = std::max(longest, tau);
          }
          decay.shortest.push_back(shortest);
          decay.longest.push_back(longest);
        }
        heads.push_back(std::move(decay));
      }
    }
  }
  return heads;
}

}  // namespace mixgrad
