#include "nn/analysis/conversion/conversion.h"

#include <algorithm>
#include <map>

#include "core/error.h"
#include "nn/config/kinds/attention.h"
#include "nn/config/kinds/mixed_heads.h"

namespace mixgrad {

template <>
const std::vector<std::string>& enum_names<HeadTarget>() {
  static const std::vector<std::string> names{"recurformer", "window", "shift"};
  return names;
}

namespace {

using Indices = std::vector<std::int64_t>;

bool holds(const Indices& values, std::int64_t value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

void insert_ascending(Indices& values, std::int64_t value) {
  values.insert(std::upper_bound(values.begin(), values.end(), value), value);
}

// A layer of softmax heads as one of mixed heads, with the sizes that Mamba heads would have by default.
MixedHeadsConfig as_mixed(const LayerConfig& layer, std::int64_t width) {
  if (const auto* mixed = layer.get_if<MixedHeadsConfig>()) return *mixed;
  const AttentionConfig& attention = layer.get<AttentionConfig>();
  MixedHeadsConfig mixed{.heads = attention.heads, .kv_heads = attention.kv_heads};
  mixed.dt_rank = (width / attention.heads + 15) / 16;
  mixed.qkv_bias = attention.qkv_bias;
  if (attention.window == 0) return mixed;
  mixed.window = attention.window;
  for (std::int64_t g = 0; g < attention.kv_heads; ++g) mixed.window_groups.push_back(g);
  return mixed;
}

void make_recurrent(MixedHeadsConfig& layer, const Indices& groups, const ConversionOptions& options,
                    std::int64_t number) {
  if (!layer.recurrent_groups.empty() && layer.expand != options.expand) {
    raise<ValueError>("conversion: the Mamba heads of a layer have one expand; layer ", number, " has heads with ",
                      layer.expand, ", got ", options.expand, " for the new ones; give ", layer.expand);
  }
  layer.expand = options.expand;
  for (const std::int64_t group : groups) insert_ascending(layer.recurrent_groups, group);
}

void make_windowed(MixedHeadsConfig& layer, const Indices& groups, const ConversionOptions& options,
                   std::int64_t number) {
  if (!layer.window_groups.empty() && layer.window != options.window) {
    raise<ValueError>("conversion: the groups of a layer have one window; layer ", number, " has groups with ",
                      layer.window, " tokens, got ", options.window, " for the new ones; give ", layer.window);
  }
  layer.window = options.window;
  for (const std::int64_t group : groups) insert_ascending(layer.window_groups, group);
}

// New shift heads have the shifts 1, 2, 4, ... in the order of the heads; those that were there keep theirs.
void make_shifting(MixedHeadsConfig& layer, const Indices& groups) {
  const std::int64_t per_group = layer.heads_per_group();
  std::map<std::int64_t, std::int64_t> shift_of;  // by head
  for (std::size_t i = 0; i < layer.shifts.size(); ++i) {
    const std::int64_t at = static_cast<std::int64_t>(i);
    shift_of[layer.shift_groups[i / static_cast<std::size_t>(per_group)] * per_group + at % per_group] =
        layer.shifts[i];
  }
  std::int64_t next = 0;
  for (const std::int64_t group : groups) {
    insert_ascending(layer.shift_groups, group);
    for (std::int64_t h = 0; h < per_group; ++h, ++next) {
      shift_of[group * per_group + h] = std::min(kMaxContext, std::int64_t{1} << (next % 62));
    }
  }
  layer.shifts.clear();
  for (const auto& [head, shift] : shift_of) layer.shifts.push_back(shift);
}

LayerConfig converted_layer(const LayerConfig& layer, std::int64_t width, std::int64_t number, const Indices& groups,
                            const ConversionOptions& options) {
  MixedHeadsConfig mixed = as_mixed(layer, width);
  const auto* attention = layer.get_if<AttentionConfig>();
  const bool all = static_cast<std::int64_t>(groups.size()) == mixed.kv_heads;
  if (attention != nullptr && all && options.to == HeadTarget::window) {  // a layer of its own kind still
    AttentionConfig windowed = *attention;
    windowed.window = options.window;
    return windowed;
  }
  std::erase_if(mixed.window_groups, [&](std::int64_t group) { return holds(groups, group); });
  switch (options.to) {
    case HeadTarget::recurformer: make_recurrent(mixed, groups, options, number); break;
    case HeadTarget::window: make_windowed(mixed, groups, options, number); break;
    case HeadTarget::shift: make_shifting(mixed, groups); break;
  }
  if (mixed.window_groups.empty()) mixed.window = 0;
  if (mixed.softmax_groups() == 0) mixed.qkv_bias.reset();
  return mixed;
}

// Rows [at.first, at.first + at.count) of the first axis.
struct Rows {
  std::int64_t from = 0, to = 0, count = 0;
};

void copy_rows(const Tensor& from, const Tensor& to, const std::vector<Rows>& rows) {
  for (const Rows& r : rows) to.slice(r.to, r.to + r.count).copy_from(from.slice(r.from, r.from + r.count));
}

// The places of the groups that are softmax in both.
std::vector<Rows> kept_qkv_rows(const ModelConfig& from, const ModelConfig& to, std::int64_t layer) {
  const QkvRows old_rows = qkv_rows(from, layer);
  const QkvRows new_rows = qkv_rows(to, layer);
  std::vector<Rows> rows;
  for (const SoftmaxGroup& now : softmax_groups(to)) {
    if (now.id.layer != layer) continue;
    for (const SoftmaxGroup& before : softmax_groups(from)) {
      if (before.id != now.id) continue;
      const auto heads = static_cast<std::int64_t>(now.heads.size());
      rows.push_back({old_rows.query(before.first_head), new_rows.query(now.first_head), heads * old_rows.head_dim});
      rows.push_back({old_rows.key(before.index), new_rows.key(now.index), old_rows.head_dim});
      rows.push_back({old_rows.value(before.index), new_rows.value(now.index), old_rows.head_dim});
    }
  }
  return rows;
}

// Of the heads that stand in both lists of groups, their places there, `size` rows for each.
std::vector<Rows> kept_head_rows(const Indices& before, const Indices& now, std::int64_t per_group, std::int64_t size) {
  std::vector<Rows> rows;
  for (std::size_t i = 0; i < now.size(); ++i) {
    const auto found = std::find(before.begin(), before.end(), now[i]);
    if (found == before.end()) continue;
    const std::int64_t count = per_group * size;
    rows.push_back({(found - before.begin()) * count, static_cast<std::int64_t>(i) * count, count});
  }
  return rows;
}

}  // namespace

ModelConfig converted_config(const ModelConfig& config, const std::vector<GroupId>& groups,
                             const ConversionOptions& options) {
  std::map<std::int64_t, Indices> of_layer;
  const std::vector<SoftmaxGroup> there = softmax_groups(config);
  for (const GroupId& id : groups) {
    const bool softmax =
        std::any_of(there.begin(), there.end(), [&](const SoftmaxGroup& group) { return group.id == id; });
    if (!softmax) {
      raise<ValueError>("conversion: softmax groups of the model are required; got ", id.layer, ":", id.group,
                        ", which is none; choose another group");
    }
    insert_ascending(of_layer[id.layer], id.group);
  }
  ModelConfig converted = config;
  for (const auto& [layer, chosen] : of_layer) {
    LayerConfig& place = converted.layers[static_cast<std::size_t>(layer)];
    place = converted_layer(place, config.d_model, layer, chosen, options);
  }
  validate(converted, "conversion");
  return converted;
}

void copy_kept_parameters(const Decoder& from, Decoder& to) {
  for (std::size_t i = 0; i < to.parameters().size(); ++i) {
    const Parameter& target = to.parameters()[i];
    const Parameter* source = from.parameters().find(target.name);
    if (source == nullptr) continue;
    const std::size_t mixer = target.name.find(".mixer.");
    const std::int64_t layer = mixer == std::string::npos ? -1 : std::stoll(target.name.substr(7, mixer - 7));
    const bool same = layer < 0 || from.config().layers[static_cast<std::size_t>(layer)] ==
                                       to.config().layers[static_cast<std::size_t>(layer)];
    const std::string name = mixer == std::string::npos ? "" : target.name.substr(mixer + 7);
    if (same || name.starts_with("o.")) {
      target.master.copy_from(source->master);
      continue;
    }
    if (name.starts_with("qkv.")) {
      copy_rows(source->master, target.master, kept_qkv_rows(from.config(), to.config(), layer));
      continue;
    }
    const auto at = static_cast<std::size_t>(layer);
    const MixedHeadsConfig before = as_mixed(from.config().layers[at], from.config().d_model);
    const MixedHeadsConfig now = as_mixed(to.config().layers[at], to.config().d_model);
    const bool mamba = name.starts_with("mamba.");
    const auto heads = static_cast<std::int64_t>(mamba ? now.recurrent_groups.size() : now.shift_groups.size()) *
                       now.heads_per_group();
    copy_rows(source->master, target.master,
              kept_head_rows(mamba ? before.recurrent_groups : before.shift_groups,
                             mamba ? now.recurrent_groups : now.shift_groups, now.heads_per_group(),
                             target.shape[0] / heads));
  }
  to.parameters().refresh();
}

std::vector<ReplacedHead> replaced_heads(const ModelConfig& from, const ModelConfig& to, HeadTarget kind) {
  std::vector<ReplacedHead> heads;
  if (kind == HeadTarget::window) return heads;
  for (const SoftmaxGroup& before : softmax_groups(from)) {
    const auto* now = to.layers[static_cast<std::size_t>(before.id.layer)].get_if<MixedHeadsConfig>();
    if (now == nullptr) continue;
    const Indices& groups = kind == HeadTarget::recurformer ? now->recurrent_groups : now->shift_groups;
    const auto found = std::find(groups.begin(), groups.end(), before.id.group);
    if (found == groups.end()) continue;
    for (std::size_t h = 0; h < before.heads.size(); ++h) {
      const auto at = static_cast<std::int64_t>(h);
      heads.push_back({.group = before.id,
                       .head = before.heads[h],
                       .softmax = before.first_head + at,
                       .value = before.index,
                       .index = (found - groups.begin()) * now->heads_per_group() + at});
    }
  }
  return heads;
}

}  // namespace mixgrad
