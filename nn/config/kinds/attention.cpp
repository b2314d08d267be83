#include "nn/config/kinds/attention.h"

#include "nn/config/layer_fields.h"
#include "nn/config/layer_rules.h"

namespace mixgrad {
namespace {

LayerConfig expand_attention(const PatternItem& item, const PatternDefaults& defaults, const PatternLayer&) {
  item.only({"heads", "kv_heads"});
  AttentionConfig config;
  config.heads = item.count("heads", defaults.heads);
  config.kv_heads = item.count("kv_heads", defaults.kv_heads == 0 ? config.heads : defaults.kv_heads);
  return config;
}

std::vector<LayerForm> attention_forms(std::int64_t) {
  std::vector<LayerForm> forms;
  for (const Positions positions : {Positions::none, Positions::rope}) {
    for (const auto& [heads, kv_heads] : {std::pair{1, 1}, std::pair{4, 4}, std::pair{4, 2}, std::pair{4, 1}}) {
      forms.push_back({AttentionConfig{heads, kv_heads}, positions});
    }
  }
  return forms;
}

}  // namespace

void AttentionConfig::fields(LayerFields& fields) {
  fields.integer("heads", heads, {1, kMaxHeads});
  fields.integer("kv_heads", kv_heads, {1, kMaxHeads});
}

void AttentionConfig::check(LayerRules& rules) const {
  rules.grouped_heads(heads, kv_heads);
  rules.rotary_head_width(heads);
}

const LayerKind& attention_kind() {
  static const LayerKind kind{
      .name = "attention",
      .values = AttentionConfig{},
      .patterns = {{.name = "attention", .example = "attention(heads=4,kv_heads=2)", .expand = expand_attention}},
      .forms = attention_forms};
  return kind;
}

}  // namespace mixgrad
