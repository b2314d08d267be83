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

// The model with softmax layers alone. `what` begins the errors.
ModelConfig softmax_model(const char* what, const ModelConfig& config, const AttentionConfig& attention) {
  if (config.mlp == Mlp::none) {
    raise<ValueError>(what, ": an MLP is required, which gets what the mixers save; got mlp none; choose ",
                      "another mlp, or keep the width");
  }
  ModelConfig softmax = config;
  softmax.layers.assign(config.layers.size(), attention);
  softmax.shortcut.reset();
  validate(softmax, std::string(what) + ": the model with softmax layers");
  return softmax;
}

double operations_of(ModelConfig config, std::int64_t d_ff) {
  config.d_ff = d_ff;
  config.vocab_size = 1;  // the head's operations are the same in every form
  double total = 0;
  for (const LayerReport& part : Decoder(config, {DType::f32, kCpu}).report()) total += part.operations;
  return total;
}

}  // namespace

std::int64_t equal_operation_width(const ModelConfig& config, const AttentionConfig& attention) {
  const ModelConfig softmax = softmax_model("equal operations", config, attention);
  const double of_unit = (operations_of(config, 16) - operations_of(config, 8)) / 8;
  const double wanted = operations_of(softmax, config.d_ff);
  const double without = operations_of(config, 8) - 8 * of_unit;
  const double units = (wanted - without) / of_unit;
  if (units < 8) {
    raise<ValueError>("equal operations: the mixers may take at most what softmax attention and an MLP of ",
                      config.d_ff, " hidden units take, ", wanted, " operations a token; without an MLP they take ",
                      without, " already; choose smaller mixers or a wider MLP");
  }
  return static_cast<std::int64_t>(units) / 8 * 8;
}

std::int64_t equal_parameter_width(const ModelConfig& config, const AttentionConfig& attention) {
  const ModelConfig softmax = softmax_model("equal parameters", config, attention);
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
