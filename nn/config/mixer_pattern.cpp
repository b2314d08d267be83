#include "nn/config/mixer_pattern.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/config/pattern_text.h"
#include "nn/config/shift_schedule.h"

namespace mixgrad {
namespace {

struct Item {
  std::string_view text;  // as written, for errors
  std::string_view name;
  std::map<std::string, std::string_view> options;

  const std::string_view* option(const std::string& key) const {
    const auto found = options.find(key);
    return found == options.end() ? nullptr : &found->second;
  }
};

// What an item says of its layers. Shifts that are not given depend on the layer: the schedule's.
struct PatternLayer {
  LayerConfig config;
  ShiftSchedule schedule{};
};

[[noreturn]] void malformed(std::string_view pattern, const std::string& what) {
  raise<ValueError>("mixer: a pattern like \"hsm:scalar,attention(heads=4,kv_heads=2)\" is required; ", what, " in ",
                    quote(pattern), "; correct the pattern");
}

// Commas within parentheses belong to their item.
std::vector<std::string_view> split_items(std::string_view pattern) {
  std::vector<std::string_view> items;
  bool inside = false;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= pattern.size(); ++i) {
    const char c = i < pattern.size() ? pattern[i] : ',';
    if (c == '(') {
      if (inside) malformed(pattern, "a parenthesis within parentheses");
      inside = true;
    } else if (c == ')') {
      if (!inside) malformed(pattern, "a closing parenthesis without an opening one");
      inside = false;
    } else if (c == ',' && (!inside || i == pattern.size())) {
      if (inside) malformed(pattern, "an unclosed parenthesis");
      items.push_back(trimmed(pattern.substr(begin, i - begin)));
      if (items.back().empty()) malformed(pattern, "an empty item");
      begin = i + 1;
    }
  }
  return items;
}

Item parse_item(std::string_view text, std::string_view pattern) {
  Item item;
  item.text = text;
  const std::size_t open = text.find('(');
  item.name = trimmed(text.substr(0, open));
  if (open == std::string_view::npos) return item;
  if (text.back() != ')') malformed(pattern, "text after a closing parenthesis");
  for (const std::string_view option : split(text.substr(open + 1, text.size() - open - 2), ',')) {
    const std::size_t equals = option.find('=');
    if (equals == std::string_view::npos) malformed(pattern, "the option " + quote(option) + " without \"=\"");
    const std::string key(trimmed(option.substr(0, equals)));
    if (!item.options.emplace(key, trimmed(option.substr(equals + 1))).second) {
      malformed(pattern, "the option " + quote(key) + " twice");
    }
  }
  return item;
}

void check_options(const Item& item, const std::vector<std::string>& known) {
  for (const auto& option : item.options) {
    if (std::find(known.begin(), known.end(), option.first) != known.end()) continue;
    raise<ValueError>("mixer: ", item.name, " has the options ", join(known), "; got ", quote(option.first), "; ",
                      did_you_mean(option.first, known), "correct the pattern");
  }
}

// The value of an option as written in the pattern, or `otherwise`.
std::int64_t count_option(const Item& item, const std::string& key, std::int64_t otherwise,
                          std::int64_t high = kMaxHeads) {
  const std::string_view* text = item.option(key);
  return text == nullptr ? otherwise : parse_count(*text, std::string(item.name) + " " + key, high);
}

template <class E>
E enum_option(const Item& item, const std::string& key, E otherwise) {
  const std::string_view* text = item.option(key);
  return text == nullptr ? otherwise : parse_enum<E>(*text, "mixer: " + std::string(item.name) + " " + key);
}

AttentionConfig make_attention(const Item& item, const PatternDefaults& defaults) {
  check_options(item, {"heads", "kv_heads"});
  AttentionConfig config;
  config.heads = count_option(item, "heads", defaults.heads);
  config.kv_heads = count_option(item, "kv_heads", defaults.kv_heads == 0 ? config.heads : defaults.kv_heads);
  return config;
}

PatternLayer make_hsm(const Item& item, const PatternDefaults& defaults) {
  HsmConfig config;
  config.variant = parse_enum<HsmVariant>(item.name.substr(item.name.find(':') + 1), "mixer: the variant of hsm");
  std::vector<std::string> known{"heads", "proj", "boundary", "shifts", "schedule"};
  if (config.variant == HsmVariant::fusion) known.emplace_back("hidden");
  check_options(item, known);
  PatternLayer layer;
  const std::string_view* shifts = item.option("shifts");
  const std::string_view* schedule = item.option("schedule");
  if (shifts != nullptr && schedule != nullptr) {
    raise<ValueError>("mixer: ", item.name, " takes shifts (of each head, in every layer) or a schedule; got both in ",
                      quote(item.text), "; leave one out");
  }
  if (shifts != nullptr) config.shifts = parse_shifts(*shifts);
  if (schedule != nullptr) layer.schedule = parse_shift_schedule(*schedule, std::string(item.name));
  const auto given = static_cast<std::int64_t>(config.shifts.size());
  config.heads = count_option(item, "heads", std::max<std::int64_t>(1, given));
  if (given != 0 && given != config.heads) {
    raise<ValueError>("mixer: ", item.name, " needs one shift per head; got ", given, " shifts and ", config.heads,
                      " heads in ", quote(item.text), "; give as many shifts as heads");
  }
  config.proj = enum_option(item, "proj", HsmProjection::none);
  config.boundary = enum_option(item, "boundary", Boundary::zero);
  if (config.variant == HsmVariant::fusion) {
    const std::int64_t head_width = std::max<std::int64_t>(1, defaults.d_model / config.heads);
    config.hidden = count_option(item, "hidden", head_width, kMaxHidden);
  }
  layer.config = config;
  return layer;
}

// The sizes of the Mamba heads; their defaults are those of Mamba's code, for a head as its block.
void add_mamba_sizes(const Item& item, const PatternDefaults& defaults, RecurformerConfig& config) {
  const std::int64_t head_width = std::max<std::int64_t>(1, defaults.d_model / config.heads);
  config.d_state = count_option(item, "d_state", config.d_state, kMaxState);
  config.d_conv = count_option(item, "d_conv", config.d_conv, kMaxConv);
  config.expand = count_option(item, "expand", config.expand, kMaxExpand);
  config.dt_rank = count_option(item, "dt_rank", (head_width + 15) / 16, kMaxRank);
}

// recurformer: some key/value groups are recurrent, by name or the last ones by fraction; mamba: all of them.
PatternLayer make_recurformer(const Item& item, const PatternDefaults& defaults) {
  const bool all = item.name == "mamba";
  std::vector<std::string> known{"heads", "kv_heads", "d_state", "d_conv", "expand", "dt_rank"};
  if (!all) known.insert(known.end(), {"fraction", "groups"});
  check_options(item, known);
  RecurformerConfig config;
  config.heads = count_option(item, "heads", defaults.heads);
  config.kv_heads = count_option(item, "kv_heads", defaults.kv_heads == 0 ? config.heads : defaults.kv_heads);
  add_mamba_sizes(item, defaults, config);
  const std::string_view* fraction = item.option("fraction");
  const std::string_view* groups = item.option("groups");
  if (fraction != nullptr && groups != nullptr) {
    raise<ValueError>("mixer: ", item.name, " takes groups (like groups=0|2) or a fraction of them; got both in ",
                      quote(item.text), "; leave one out");
  }
  if (groups != nullptr) {
    for (const std::string_view group : split(*groups, '|')) {
      config.recurrent_groups.push_back(
          parse_integer(group, "each of the groups (like groups=0|2)", 0, config.kv_heads - 1));
    }
    return {config};
  }
  const double share = all                   ? 1
                       : fraction == nullptr ? 0.5
                                             : parse_share(*fraction, std::string(item.name) + " fraction");
  const auto count = std::llround(share * static_cast<double>(config.kv_heads));
  for (std::int64_t g = config.kv_heads - count; g < config.kv_heads; ++g) config.recurrent_groups.push_back(g);
  return {config};
}

// mixed: how many heads of each kind, in this order.
PatternLayer make_mixed(const Item& item, const PatternDefaults& defaults) {
  check_options(item, {"softmax", "mamba", "shift", "kv_heads", "shifts", "d_state", "d_conv", "expand", "dt_rank"});
  const auto heads_of = [&](const char* kind) { return count_option(item, kind, 0); };
  const std::int64_t softmax = heads_of("softmax");
  const std::int64_t mamba = heads_of("mamba");
  const std::int64_t shift = heads_of("shift");
  RecurformerConfig config;
  config.heads = softmax + mamba + shift;
  if (config.heads == 0) {
    raise<ValueError>("mixer: mixed needs heads of a kind, like mixed(softmax=2,mamba=1,shift=1); got ",
                      quote(item.text), "; say how many");
  }
  config.kv_heads = count_option(item, "kv_heads", defaults.kv_heads == 0 ? config.heads : defaults.kv_heads);
  const std::int64_t group = std::max<std::int64_t>(1, config.heads / config.kv_heads);
  if (config.heads % config.kv_heads != 0 || softmax % group != 0 || mamba % group != 0) {
    raise<ValueError>("mixer: mixed needs whole key/value groups of each kind; got ", softmax, " softmax, ", mamba,
                      " mamba and ", shift, " shift heads and ", config.kv_heads, " kv_heads in ", quote(item.text),
                      "; choose numbers that the heads of a group divide");
  }
  add_mamba_sizes(item, defaults, config);
  for (std::int64_t g = softmax / group; g < config.kv_heads; ++g) {
    (g < (softmax + mamba) / group ? config.recurrent_groups : config.shift_groups).push_back(g);
  }
  if (const std::string_view* shifts = item.option("shifts")) {
    config.shifts = parse_shifts(*shifts);
  } else {
    for (std::int64_t s = 0; s < shift; ++s)
      config.shifts.push_back(std::min(kMaxContext, std::int64_t{1} << (s % 62)));
  }
  if (static_cast<std::int64_t>(config.shifts.size()) != shift) {
    raise<ValueError>("mixer: mixed needs one shift per shift head; got ", config.shifts.size(), " shifts and ", shift,
                      " heads in ", quote(item.text), "; give as many shifts as heads");
  }
  return {config};
}

std::vector<std::string> pattern_names() {
  std::vector<std::string> names{"attention", "recurformer", "mamba", "mixed"};
  for (const std::string& variant : enum_names<HsmVariant>()) names.push_back("hsm:" + variant);
  return names;
}

PatternLayer make_layer(const Item& item, const PatternDefaults& defaults) {
  const std::vector<std::string> names = pattern_names();
  if (item.name == "attention") return {make_attention(item, defaults)};
  if (item.name == "recurformer" || item.name == "mamba") return make_recurformer(item, defaults);
  if (item.name == "mixed") return make_mixed(item, defaults);
  if (std::find(names.begin(), names.end(), item.name) != names.end()) return make_hsm(item, defaults);
  raise<ValueError>("mixer: one of ", join(names), " is required; got ", quote(item.name), "; ",
                    did_you_mean(item.name, names), "choose one of them");
}

void check_default(const char* name, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value < low || value > high) {
    raise<ValueError>(name, " must be from ", low, " to ", high, "; got ", value, "; choose a value in this range");
  }
}

}  // namespace

std::vector<LayerConfig> expand_mixer_pattern(std::string_view pattern, const PatternDefaults& defaults) {
  check_default("layers", defaults.layers, 1, kMaxLayers);
  check_default("heads", defaults.heads, 1, kMaxHeads);
  check_default("kv_heads", defaults.kv_heads, 0, kMaxHeads);
  check_default("context", defaults.context, 1, kMaxContext);
  check_default("d_model", defaults.d_model, 1, kMaxWidth);
  std::vector<PatternLayer> items;
  for (const std::string_view text : split_items(pattern)) {
    items.push_back(make_layer(parse_item(text, pattern), defaults));
  }
  const auto of_layer = [&](std::int64_t l) -> const PatternLayer& {
    return items[static_cast<std::size_t>(l) % items.size()];
  };
  std::int64_t hsm_layers = 0;
  for (std::int64_t l = 0; l < defaults.layers; ++l) {
    if (std::holds_alternative<HsmConfig>(of_layer(l).config)) ++hsm_layers;
  }
  std::vector<LayerConfig> layers;
  std::int64_t hsm_layer = 0;
  for (std::int64_t l = 0; l < defaults.layers; ++l) {
    layers.push_back(of_layer(l).config);
    auto* hsm = std::get_if<HsmConfig>(&layers.back());
    if (hsm == nullptr) continue;
    if (hsm->shifts.empty()) {
      hsm->shifts = of_layer(l).schedule.shifts(hsm_layer, hsm_layers, hsm->heads, defaults.context);
    }
    ++hsm_layer;
  }
  return layers;
}

}  // namespace mixgrad
