// The rules between the numbers of a model: first_broken_rule and validate of nn/config/model_config.h. Those of a
// layer are stated by its kind (nn/config/kinds/).
#include "core/error.h"
#include "nn/config/kinds/attention.h"
#include "nn/config/layer_kind.h"
#include "nn/config/layer_rules.h"
#include "nn/config/model_config.h"

namespace mixgrad {
namespace {

void check_sizes(LayerRules& rules) {
  const ModelConfig& config = rules.model();
  rules.size("vocab_size", config.vocab_size, kMaxVocab);
  rules.size("context", config.context, kMaxContext);
  rules.size("d_model", config.d_model, kMaxWidth);
  if (config.mlp != Mlp::none) rules.size("d_ff", config.d_ff, kMaxHidden);
  if (config.mlp == Mlp::none && config.d_ff != 0) {
    rules.broken("d_ff must be 0 where mlp is none; got ", config.d_ff, "; set it to 0 or choose another mlp");
  }
  rules.positive("norm_eps", config.norm_eps);
  rules.positive("rope_theta", config.rope_theta);
  const auto count = static_cast<std::int64_t>(config.layers.size());
  if (count < 1 || count > kMaxLayers) {
    rules.broken("there must be from 1 to ", kMaxLayers, " layers; got ", count, "; change the number of layers");
  }
}

void check_shortcut(LayerRules& rules) {
  const ModelConfig& config = rules.model();
  const ShortcutConfig& shortcut = *config.shortcut;
  const auto last = static_cast<std::int64_t>(config.layers.size()) - 1;
  const auto* attention = config.layers.back().get_if<AttentionConfig>();
  if (attention == nullptr) {
    rules.broken("a shortcut needs attention as the last layer; got ", config.layers.back().kind().name, " in layers[",
                 last, "]; make the last layer attention");
  } else if (attention->window != 0 || attention->qkv_bias) {
    rules.broken("the last layer of a model with a shortcut takes neither window nor qkv_bias; got ",
                 attention->window != 0 ? "window" : "qkv_bias", " in layers[", last, "]; leave it out");
  }
  if (shortcut.sources.empty()) {
    rules.broken("shortcut.sources must name at least one hidden state; got none; give hidden states from 0 (the ",
                 "embedding) to ", last);
  }
  for (std::size_t i = 0; i < shortcut.sources.size(); ++i) {
    const std::int64_t source = shortcut.sources[i];
    if (source >= 0 && source <= last) continue;
    rules.broken("shortcut.sources[", i, "] must be from 0 (the embedding) to ", last,
                 " (what the last layer is given); got ", source, "; choose hidden states below the last layer");
  }
  rules.ascending("sources", shortcut.sources);
  rules.size("hidden", shortcut.hidden, kMaxHidden);
}

}  // namespace

std::string first_broken_rule(const ModelConfig& config) {
  LayerRules model(config);
  check_sizes(model);
  if (!model.hold()) return model.text();
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    LayerRules layer(config, "layers[" + std::to_string(l) + "]");
    config.layers[l].check(layer);
    if (!layer.hold()) return layer.text();
  }
  LayerRules shortcut(config, "shortcut");
  if (config.shortcut) check_shortcut(shortcut);
  return shortcut.text();
}

void validate(const ModelConfig& config, std::string_view what) {
  const std::string broken = first_broken_rule(config);
  if (!broken.empty()) raise<ValueError>(what, ": ", broken);
}

}  // namespace mixgrad
