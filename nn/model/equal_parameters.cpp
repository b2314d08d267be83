#include "nn/model/equal_parameters.h"

#include "core/error.h"
#include "nn/model/decoder.h"

namespace mixgrad {
namespace {

struct Counts {
  std::int64_t mixers = 0;
  std::int64_t mlp_per_unit = 0;  // of all layers: parameters that one more hidden unit adds
};

Counts count(const ModelConfig& config) {
  Counts counts;
  for (const auto& [name, shape] : parameter_shapes(config)) {
    const bool down_bias = name.ends_with(".mlp.down.bias");  // as long as the model is wide
    if (name.find(".mixer.") != std::string::npos || name.starts_with("shortcut.")) counts.mixers += shape.numel();
    if (name.find(".mlp.") != std::string::npos && !down_bias) counts.mlp_per_unit += shape.numel() / config.d_ff;
  }
  return counts;
}

}  // namespace

std::int64_t equal_parameter_width(const ModelConfig& config, const AttentionConfig& attention) {
  if (config.mlp == Mlp::none) {
    raise<ValueError>("equal parameters: an MLP is required, which gets what the mixers save; got mlp none; choose ",
                      "another mlp, or keep the width");
  }
  ModelConfig softmax = config;
  softmax.layers.assign(config.layers.size(), attention);
  softmax.shortcut.reset();
  validate(softmax, "equal parameters: the model with softmax layers");
  const Counts own = count(config);
  const std::int64_t saved = count(softmax).mixers - own.mixers;
  const std::int64_t total = config.d_ff * own.mlp_per_unit + saved;
  const std::int64_t width = total < 0 ? 0 : total / own.mlp_per_unit / 8 * 8;
  if (width < 8) {
    raise<ValueError>("equal parameters: the mixers may take at most what softmax attention and an MLP of ",
                      config.d_ff, " hidden units have; they take ", -saved, " more than attention, and the MLP has ",
                      config.d_ff * own.mlp_per_unit, "; choose smaller mixers or a wider MLP");
  }
  return width;
}

}  // namespace mixgrad
