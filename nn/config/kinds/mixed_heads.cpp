#include "nn/config/kinds/mixed_heads.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/text/plural.h"
#include "core/text/suggest.h"
#include "nn/config/layer_fields.h"
#include "nn/config/layer_rules.h"
#include "nn/config/patterns/pattern_text.h"
#include "nn/config/shift_schedule.h"

namespace mixgrad {
namespace {

using Groups = std::vector<std::int64_t>;

void set_kv_heads(const PatternItem& item, const PatternDefaults& defaults, MixedHeadsConfig& config) {
  config.kv_heads = item.count("kv_heads", defaults.kv_heads == 0 ? config.heads : defaults.kv_heads);
}

// The sizes of the Mamba heads; their defaults are those of Mamba's code, for a head as its block.
void set_mamba_sizes(const PatternItem& item, const PatternDefaults& defaults, MixedHeadsConfig& config) {
  const std::int64_t head_width = std::max<std::int64_t>(1, defaults.d_model / config.heads);
  config.d_state = item.count("d_state", config.d_state, kMaxState);
  config.d_conv = item.count("d_conv", config.d_conv, kMaxConv);
  config.expand = item.count("expand", config.expand, kMaxExpand);
  config.dt_rank = item.count("dt_rank", (head_width + 15) / 16, kMaxRank);
}

MixedHeadsConfig with_last_groups_recurrent(MixedHeadsConfig config, double share) {
  const auto count = std::llround(share * static_cast<double>(config.kv_heads));
  for (std::int64_t g = config.kv_heads - count; g < config.kv_heads; ++g) config.recurrent_groups.push_back(g);
  return config;
}

Groups parse_groups(const std::string& text, const MixedHeadsConfig& config) {
  Groups groups;
  for (const std::string_view group : split(text, '|')) {
    groups.push_back(parse_integer(group, "each of the groups (like groups=0|2)", 0, config.kv_heads - 1));
  }
  return groups;
}

LayerConfig expand_mamba(const PatternItem& item, const PatternDefaults& defaults, const PatternLayer&) {
  item.only({"heads", "kv_heads", "d_state", "d_conv", "expand", "dt_rank", "o"});
  MixedHeadsConfig config;
  config.heads = item.count("heads", defaults.heads);
  config.o = item.flag("o", true);
  set_kv_heads(item, defaults, config);
  set_mamba_sizes(item, defaults, config);
  return with_last_groups_recurrent(config, 1);
}

LayerConfig expand_recurformer(const PatternItem& item, const PatternDefaults& defaults, const PatternLayer&) {
  item.only({"heads", "kv_heads", "d_state", "d_conv", "expand", "dt_rank", "fraction", "groups", "window_groups",
             "window", "qkv_bias", "o"});
  MixedHeadsConfig config;
  config.heads = item.count("heads", defaults.heads);
  set_kv_heads(item, defaults, config);
  set_mamba_sizes(item, defaults, config);
  config.qkv_bias = item.bias("qkv_bias", defaults);
  config.o = item.flag("o", true);
  config.window = item.count("window", 0, kMaxContext);
  if (const std::string* windowed = item.option("window_groups"))
    config.window_groups = parse_groups(*windowed, config);
  item.not_both("fraction", "groups", "groups (like groups=0|2) or a fraction of them");
  const std::string* groups = item.option("groups");
  if (groups == nullptr) return with_last_groups_recurrent(config, item.share("fraction", 0.5));
  config.recurrent_groups = parse_groups(*groups, config);
  return config;
}

// How many heads of each kind, in this order.
LayerConfig expand_mixed(const PatternItem& item, const PatternDefaults& defaults, const PatternLayer&) {
  item.only({"softmax", "windowed", "mamba", "shift", "window", "kv_heads", "shifts", "d_state", "d_conv", "expand",
             "dt_rank", "qkv_bias", "o"});
  const std::int64_t softmax = item.count("softmax", 0);
  const std::int64_t windowed = item.count("windowed", 0);
  const std::int64_t mamba = item.count("mamba", 0);
  const std::int64_t shift = item.count("shift", 0);
  MixedHeadsConfig config;
  config.heads = softmax + windowed + mamba + shift;
  config.window = item.count("window", 0, kMaxContext);
  config.qkv_bias = item.bias("qkv_bias", defaults);
  config.o = item.flag("o", true);
  if (config.heads == 0) {
    raise<ValueError>("mixer: mixed needs heads of a kind, like mixed(softmax=2,mamba=1,shift=1); got ",
                      quote(item.text()), "; say how many");
  }
  set_kv_heads(item, defaults, config);
  const std::int64_t group = std::max<std::int64_t>(1, config.heads / config.kv_heads);
  if (config.heads % config.kv_heads != 0 || softmax % group != 0 || windowed % group != 0 || mamba % group != 0) {
    raise<ValueError>("mixer: mixed needs whole key/value groups of each kind; got ", softmax, " softmax, ",
                      windowed == 0 ? "" : std::to_string(windowed) + " windowed, ", mamba, " mamba and ", shift,
                      " shift heads and ", config.kv_heads, " kv_heads in ", quote(item.text()),
                      "; choose numbers that the heads of a group divide");
  }
  set_mamba_sizes(item, defaults, config);
  for (std::int64_t g = softmax / group; g < config.kv_heads; ++g) {
    Groups& groups = g < (softmax + windowed) / group           ? config.window_groups
                     : g < (softmax + windowed + mamba) / group ? config.recurrent_groups
                                                                : config.shift_groups;
    groups.push_back(g);
  }
  if (const std::string* shifts = item.option("shifts")) {
    config.shifts = parse_shifts(*shifts);
  } else {
    for (std::int64_t s = 0; s < shift; ++s) {
      config.shifts.push_back(std::min(kMaxContext, std::int64_t{1} << (s % 62)));
    }
  }
  if (static_cast<std::int64_t>(config.shifts.size()) != shift) {
    raise<ValueError>("mixer: mixed needs one shift per shift head; got ",
                      count_text(static_cast<std::int64_t>(config.shifts.size()), "shift"), " and ",
                      count_text(shift, "head"), " in ", quote(item.text()), "; give as many shifts as heads");
  }
  return config;
}

// Softmax groups with and without a window, in order and interleaved, alone and beside the other kinds; without o.
std::vector<LayerForm> windowed_forms(std::int64_t length) {
  const std::int64_t within = std::max<std::int64_t>(1, length - 1);
  MixedHeadsConfig base{.heads = 4, .kv_heads = 4, .d_state = 2, .expand = 1};
  const auto with = [&](Groups window_groups, std::int64_t window) {
    MixedHeadsConfig layer = base;
    layer.window_groups = std::move(window_groups);
    layer.window = window;
    return layer;
  };
  MixedHeadsConfig all_kinds = with({2}, 3);
  all_kinds.recurrent_groups = {0};
  all_kinds.shift_groups = {3};
  all_kinds.shifts = {2};
  MixedHeadsConfig grouped = with({0}, within);
  grouped.kv_heads = 2;
  grouped.qkv_bias = false;
  MixedHeadsConfig no_product = with({1, 3}, 1);
  no_product.recurrent_groups = {0};
  no_product.o = false;
  MixedHeadsConfig mamba{.heads = 1, .kv_heads = 1, .recurrent_groups = {0}, .d_state = 2, .o = false};
  MixedHeadsConfig softmax{.heads = 4, .kv_heads = 2, .o = false};
  return {{with({2, 3}, 2)},
          {with({0, 2}, within), Positions::rope},
          {with({0, 1, 2, 3}, length + 1)},
          {grouped, Positions::rope},
          {all_kinds, Positions::rope},
          {no_product},
          {mamba},
          {softmax, Positions::rope}};
}

// Splits of four heads, and of four heads in two groups and in one, over softmax, Mamba and shift.
std::vector<LayerForm> mixed_heads_forms(std::int64_t length) {
  struct Split {
    std::int64_t kv_heads;
    Groups recurrent, shifted;
  };
  const std::vector<Split> splits{{4, {}, {}},  {4, {1}, {}},          {4, {0, 2, 3}, {}}, {4, {0, 1, 2, 3}, {}},
                                  {4, {}, {3}}, {4, {}, {0, 1, 2, 3}}, {4, {2}, {0, 1}},   {4, {0, 3}, {1, 2}},
                                  {2, {0}, {}}, {2, {1}, {0}},         {2, {}, {0}},       {1, {0}, {}}};
  const Groups shifts{1, std::max<std::int64_t>(1, length - 1), length, length + 1};
  std::vector<LayerForm> forms;
  for (std::size_t i = 0; i < splits.size(); ++i) {
    const Split& split = splits[i];
    MixedHeadsConfig layer{.heads = 4, .kv_heads = split.kv_heads, .recurrent_groups = split.recurrent};
    layer.d_state = 3;
    layer.d_conv = Groups{4, 1, 2, 7}[i % 4];
    layer.expand = i % 3 == 0 ? 2 : 1;
    layer.dt_rank = i % 2 == 0 ? 1 : 2;
    layer.shift_groups = split.shifted;
    const std::size_t shift_heads = split.shifted.size() * static_cast<std::size_t>(layer.heads_per_group());
    for (std::size_t s = 0; s < shift_heads; ++s) layer.shifts.push_back(shifts[(s + i) % shifts.size()]);
    forms.push_back({layer, i % 2 == 0 ? Positions::none : Positions::rope});
  }
  for (LayerForm& form : windowed_forms(length)) forms.push_back(std::move(form));
  return forms;
}

void check_groups(LayerRules& rules, const std::string& name, const Groups& values, std::int64_t kv_heads) {
  rules.sizes(name, values, kv_heads - 1, 0);
  rules.ascending(name, values);
}

void require_disjoint(LayerRules& rules, const char* one, const Groups& of_one, const char* other,
                      const Groups& of_other) {
  for (const std::int64_t group : of_other) {
    if (std::find(of_one.begin(), of_one.end(), group) == of_one.end()) continue;
    rules.broken(rules.where(), ": a group may stand in ", one, " or in ", other, "; got ", group,
                 " in both; remove it from one");
  }
}

}  // namespace

std::string MixedHeadsConfig::pattern_name() const {
  if (!shift_groups.empty()) return "mixed";
  return softmax_groups() == 0 ? "mamba" : "recurformer";
}

void MixedHeadsConfig::fields(LayerFields& fields) {
  fields.integer("heads", heads, {1, kMaxHeads});
  fields.integer("kv_heads", kv_heads, {1, kMaxHeads});
  fields.integers("recurrent_groups", recurrent_groups, {0, kv_heads - 1});
  fields.integer("d_state", d_state, {1, kMaxState});
  fields.integer("d_conv", d_conv, {1, kMaxConv});
  fields.integer("expand", expand, {1, kMaxExpand});
  fields.integer("dt_rank", dt_rank, {1, kMaxRank});
  fields.integers("shift_groups", shift_groups, {0, kv_heads - 1});
  fields.integers("shifts", shifts, {1, kMaxContext});
  fields.optional_integers("window_groups", window_groups, {0, kv_heads - 1});
  fields.optional_integer("window", window, {0, kMaxContext}, 0);
  fields.optional_bias("qkv_bias", qkv_bias);
  fields.optional_flag("o", o, true);
}

void MixedHeadsConfig::check(LayerRules& rules) const {
  rules.grouped_heads(heads, kv_heads);
  rules.size("d_state", d_state, kMaxState);
  rules.size("d_conv", d_conv, kMaxConv);
  rules.size("expand", expand, kMaxExpand);
  rules.size("dt_rank", dt_rank, kMaxRank);
  if (!rules.hold()) return;
  check_groups(rules, "recurrent_groups", recurrent_groups, kv_heads);
  check_groups(rules, "shift_groups", shift_groups, kv_heads);
  check_groups(rules, "window_groups", window_groups, kv_heads);
  require_disjoint(rules, "recurrent_groups", recurrent_groups, "shift_groups", shift_groups);
  require_disjoint(rules, "recurrent_groups", recurrent_groups, "window_groups", window_groups);
  require_disjoint(rules, "shift_groups", shift_groups, "window_groups", window_groups);
  rules.size("window", window, kMaxContext, 0);
  if (window == 0 && !window_groups.empty()) {
    rules.broken(rules.key("window"), " must be from 1 to ", kMaxContext, " where window_groups names groups; got 0; ",
                 "give the tokens that these groups see");
  }
  if (window > 0 && window_groups.empty()) {
    rules.broken(rules.key("window"), " belongs to the groups of window_groups; got ", window, " and no such group; ",
                 "name groups or leave the window out");
  }
  if (qkv_bias && softmax_groups() == 0) {
    rules.broken(rules.key("qkv_bias"), " belongs to softmax groups; got ", *qkv_bias ? "true" : "false",
                 " and no such group; leave it out");
  }
  const auto shift_heads = static_cast<std::int64_t>(shift_groups.size()) * heads_per_group();
  rules.shifts(shifts, shift_heads, "head of shift_groups");
  if (recurrent_groups.size() + shift_groups.size() < static_cast<std::size_t>(kv_heads)) {
    rules.rotary_head_width(heads);
  }
}

const LayerKind& mixed_heads_kind() {
  static const LayerKind kind{
      .name = "recurformer",
      .values = MixedHeadsConfig{},
      .patterns = {{.name = "recurformer", .example = "recurformer(fraction=0.5)", .expand = expand_recurformer},
                   {.name = "mamba", .example = "mamba(expand=1)", .expand = expand_mamba},
                   {.name = "mixed", .example = "mixed(softmax=2,mamba=1,shift=1)", .expand = expand_mixed}},
      .forms = mixed_heads_forms};
  return kind;
}

}  // namespace mixgrad
