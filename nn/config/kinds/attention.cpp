#include "nn/config/kinds/attention.h"

#include <algorithm>

#include "nn/config/layer_fields.h"
#include "nn/config/layer_rules.h"

namespace mixgrad {
namespace {

LayerConfig expand_attention(const PatternItem& item, const PatternDefaults& defaults, const PatternLayer&) {
  item.only({"heads", "kv_heads", "window", "qkv_bias"});
  AttentionConfig config;
  config.heads = item.count("heads", defaults.heads);
  config.kv_heads = item.count("kv_heads", defaults.kv_heads == 0 ? config.heads : defaults.kv_heads);
  config.window = item.count("window", 0, kMaxContext);
  config.qkv_bias = item.bias("qkv_bias", defaults);
  return config;
}

// The windows stand around the length: one token, within it, at its end, beyond it.
std::vector<LayerForm> attention_forms(std::int64_t length) {
  std::vector<LayerForm> forms;
  for (const Positions positions : {Positions::none, Positions::rope}) {
    for (const auto& [heads, kv_heads] : {std::pair{1, 1}, std::pair{4, 4}, std::pair{4, 2}, std::pair{4, 1}}) {
      forms.push_back({AttentionConfig{heads, kv_heads}, positions});
    }
  }
  const std::vector<std::int64_t> windows{1, 2, std::max<std::int64_t>(1, length - 1), length, length + 1, 64};
  for (std::size_t i = 0; i < windows.size(); ++i) {
    forms.push_back({AttentionConfig{.heads = 4, .kv_heads = i % 2 == 0 ? 4 : 2, .window = windows[i]},
                     i % 3 == 0 ? Positions::none : Positions::rope});
  }
  forms.push_back({AttentionConfig{.heads = 4, .kv_heads = 2, .window = 3, .qkv_bias = false}});
  forms.push_back({AttentionConfig{.heads = 4, .kv_heads = 2, .qkv_bias = true}, Positions::rope});
  return forms;
}

}  // namespace

void AttentionConfig::fields(LayerFields& fields) {
  fields.integer("heads", heads, {1, kMaxHeads});
  fields.integer("kv_heads", kv_heads, {1, kMaxHeads});
  fields.optional_integer("window", window, {0, kMaxContext}, 0);
  fields.optional_bias("qkv_bias", qkv_bias);
}

void AttentionConfig::check(LayerRules& rules) const {
  rules.grouped_heads(heads, kv_heads);
  rules.size("window", window, kMaxContext, 0);
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
