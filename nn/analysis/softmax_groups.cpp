#include "nn/analysis/softmax_groups.h"

#include <algorithm>

#include "nn/config/kinds/attention.h"
#include "nn/config/kinds/mixed_heads.h"

namespace mixgrad {
namespace {

bool in_list(const std::vector<std::int64_t>& groups, std::int64_t group) {
  return std::find(groups.begin(), groups.end(), group) != groups.end();
}

void append_groups(std::int64_t layer, const MixedHeadsConfig& heads, std::vector<SoftmaxGroup>& all) {
  std::int64_t index = 0;
  for (std::int64_t g = 0; g < heads.kv_heads; ++g) {
    if (in_list(heads.recurrent_groups, g) || in_list(heads.shift_groups, g)) continue;
    SoftmaxGroup group{.id = {layer, g}, .first_head = index * heads.heads_per_group(), .index = index};
    group.window = in_list(heads.window_groups, g) ? heads.window : 0;
    for (std::int64_t h = 0; h < heads.heads_per_group(); ++h) group.heads.push_back(g * heads.heads_per_group() + h);
    all.push_back(std::move(group));
    ++index;
  }
}

}  // namespace

std::vector<SoftmaxGroup> softmax_groups(const ModelConfig& config) {
  std::vector<SoftmaxGroup> all;
  const std::size_t layers = config.layers.size() - (config.shortcut ? 1 : 0);
  for (std::size_t l = 0; l < layers; ++l) {
    const auto layer = static_cast<std::int64_t>(l);
    if (const auto* mixed = config.layers[l].get_if<MixedHeadsConfig>()) append_groups(layer, *mixed, all);
    const auto* attention = config.layers[l].get_if<AttentionConfig>();
    if (attention == nullptr) continue;
    const std::size_t begin = all.size();
    append_groups(layer, {.heads = attention->heads, .kv_heads = attention->kv_heads}, all);
    for (std::size_t i = begin; i < all.size(); ++i) all[i].window = attention->window;
  }
  return all;
}

QkvRows qkv_rows(const ModelConfig& config, std::int64_t layer) {
  QkvRows rows;
  for (const SoftmaxGroup& group : softmax_groups(config)) {
    if (group.id.layer != layer) continue;
    rows.heads += static_cast<std::int64_t>(group.heads.size());
    ++rows.groups;
  }
  const LayerConfig& kind = config.layers.at(static_cast<std::size_t>(layer));
  const auto* attention = kind.get_if<AttentionConfig>();
  rows.head_dim = config.d_model / (attention != nullptr ? attention->heads : kind.get<MixedHeadsConfig>().heads);
  return rows;
}

std::string mixer_prefix(std::int64_t layer) { return "layers." + std::to_string(layer) + ".mixer."; }

}  // namespace mixgrad
