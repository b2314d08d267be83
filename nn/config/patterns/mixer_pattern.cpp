#include "nn/config/patterns/mixer_pattern.h"

#include <algorithm>
#include <map>
#include <string>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/config/layer_kinds.h"

namespace mixgrad {
namespace {

// An item and what its name stands for.
struct ResolvedItem {
  PatternItem item;
  const LayerKind* kind;
  const MixerPattern* pattern;
};

ResolvedItem resolve(const PatternItem& item) {
  for (const LayerKind* kind : layer_kinds()) {
    for (const MixerPattern& pattern : kind->patterns) {
      if (pattern.name == item.name()) return {item, kind, &pattern};
    }
  }
  const std::vector<std::string> names = pattern_names();
  raise<ValueError>("mixer: one of ", join(names), " is required; got ", quote(item.name()), "; ",
                    did_you_mean(item.name(), names), "choose one of them");
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
  std::vector<ResolvedItem> items;
  for (const PatternItem& item : pattern_items(pattern)) {
    items.push_back(resolve(item));
    items.back().pattern->expand(item, defaults, {});  // its errors, also when there are fewer layers than items
  }
  const auto item_of = [&](std::int64_t l) -> const ResolvedItem& {
    return items[static_cast<std::size_t>(l) % items.size()];
  };
  std::map<const LayerKind*, std::int64_t> count_of;
  for (std::int64_t l = 0; l < defaults.layers; ++l) ++count_of[item_of(l).kind];
  std::map<const LayerKind*, std::int64_t> index_of;
  std::vector<LayerConfig> layers;
  for (std::int64_t l = 0; l < defaults.layers; ++l) {
    const auto& [item, kind, named] = item_of(l);
    layers.push_back(named->expand(item, defaults, {index_of[kind]++, count_of[kind]}));
  }
  return layers;
}

}  // namespace mixgrad
