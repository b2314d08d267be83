#include "nn/config/kinds/hsm.h"

#include <algorithm>
#include <deque>

#include "core/error.h"
#include "core/text/plural.h"
#include "core/text/suggest.h"
#include "nn/config/layer_fields.h"
#include "nn/config/layer_rules.h"
#include "nn/config/shift_schedule.h"

namespace mixgrad {
namespace {

std::int64_t one_per_channel(std::int64_t head_width) { return head_width; }

struct Variants {
  std::vector<std::string> names;
  std::deque<HsmVariantKind> kinds;  // a reference to one stays valid when another is added

  void add(const HsmVariantKind& kind) {
    names.push_back(kind.name);
    kinds.push_back(kind);
  }
};

Variants& all_variants() {
  static Variants variants = [] {
    Variants built_in;
#define HSM_VARIANT(name, file, ...) built_in.add({#name, {__VA_ARGS__}});
#include "nn/config/hsm_variants.def"
#undef HSM_VARIANT
    return built_in;
  }();
  return variants;
}

LayerConfig expand_hsm(const PatternItem& item, const PatternDefaults& defaults, const PatternLayer& layer) {
  HsmConfig config;
  config.variant = parse_enum<HsmVariant>(item.name().substr(item.name().find(':') + 1), "mixer: the variant of hsm");
  std::vector<std::string> known{"heads", "proj", "boundary", "shifts", "schedule"};
  const std::vector<HsmOption>& more = hsm_variant(config.variant).options;
  for (const HsmOption& option : more) known.emplace_back(option.name);
  item.only(known);
  item.not_both("shifts", "schedule", "shifts (of each head, in every layer) or a schedule");
  if (const std::string* shifts = item.option("shifts")) config.shifts = parse_shifts(*shifts);
  ShiftSchedule schedule;
  if (const std::string* text = item.option("schedule")) schedule = parse_shift_schedule(*text, item.name());
  const auto given = static_cast<std::int64_t>(config.shifts.size());
  config.heads = item.count("heads", std::max<std::int64_t>(1, given));
  if (given != 0 && given != config.heads) {
    raise<ValueError>("mixer: ", item.name(), " needs one shift per head; got ", count_text(given, "shift"), " and ",
                      count_text(config.heads, "head"), " in ", quote(item.text()), "; give as many shifts as heads");
  }
  config.proj = item.choice("proj", HsmProjection::none);
  config.boundary = item.choice("boundary", Boundary::zero);
  const std::int64_t head_width = std::max<std::int64_t>(1, defaults.d_model / config.heads);
  for (const HsmOption& option : more) {
    config.options.push_back(item.count(option.name, option.otherwise(head_width), option.high));
  }
  if (given == 0) config.shifts = schedule.shifts(layer.index, layer.count, config.heads, defaults.context);
  return config;
}

MixerPattern pattern_of(const HsmVariantKind& variant) {
  std::string example = "hsm:" + variant.name + "(heads=4";
  for (const HsmOption& option : variant.options) example += std::string(",") + option.name + "=64";
  return {.name = "hsm:" + variant.name, .example = example + ")", .expand = expand_hsm};
}

// The shifts stand around the length: within it, at its end, just beyond, and far beyond. The projections are the same
// code for all variants: all four with a and b, none and both with the others.
std::vector<LayerForm> hsm_forms(std::int64_t length) {
  using enum HsmProjection;
  const std::vector<std::int64_t> shifts{1, 2, std::max<std::int64_t>(1, length - 1), length, length + 1, 64};
  std::vector<LayerForm> forms;
  for (std::size_t i = 0; i < all_variants().kinds.size(); ++i) {
    HsmConfig layer{.variant = static_cast<HsmVariant>(i)};
    for (const HsmOption& option : hsm_variant(layer.variant).options) {
      layer.options.push_back(std::min<std::int64_t>(3, option.high));
    }
    const bool coefficients = layer.variant == HsmVariant::scalar || layer.variant == HsmVariant::vector;
    for (const HsmProjection proj : coefficients ? std::vector{none, v, o, vo} : std::vector{none, vo}) {
      for (const Boundary boundary : {Boundary::zero, Boundary::self}) {
        layer.proj = proj;
        layer.boundary = boundary;
        for (std::size_t first = 0; first < shifts.size(); ++first) {
          layer.heads = 1;
          layer.shifts = {shifts[first]};
          forms.push_back({layer});
          layer.heads = 4;
          layer.shifts.clear();
          for (std::size_t h = 0; h < 4; ++h) layer.shifts.push_back(shifts[(first + h) % shifts.size()]);
          forms.push_back({layer});
        }
      }
    }
  }
  return forms;
}

// Not const: a registered variant adds its pattern.
LayerKind& hsm_description() {
  static LayerKind kind = [] {
    LayerKind hsm{.name = "hsm", .values = HsmConfig{.shifts = {1}}, .patterns = {}, .forms = hsm_forms};
    for (const HsmVariantKind& variant : all_variants().kinds) hsm.patterns.push_back(pattern_of(variant));
    return hsm;
  }();
  return kind;
}

}  // namespace

const LayerKind& hsm_kind() { return hsm_description(); }

template <>
const std::vector<std::string>& enum_names<HsmVariant>() {
  return all_variants().names;
}
template <>
const std::vector<std::string>& enum_names<HsmProjection>() {
  static const std::vector<std::string> names{"none", "v", "o", "vo"};
  return names;
}
template <>
const std::vector<std::string>& enum_names<Boundary>() {
  static const std::vector<std::string> names{"zero", "self"};
  return names;
}

const HsmVariantKind& hsm_variant(HsmVariant variant) {
  return all_variants().kinds.at(static_cast<std::size_t>(variant));
}

HsmVariant register_hsm_variant(const HsmVariantKind& kind) {
  const std::vector<std::string>& names = all_variants().names;
  if (kind.name.empty() || std::find(names.begin(), names.end(), kind.name) != names.end()) {
    raise<ValueError>("hsm mixing: a name that no other has is required (there are ", join(names), "); got ",
                      quote(kind.name), "; choose another name");
  }
  LayerKind& hsm = hsm_description();
  all_variants().add(kind);
  hsm.patterns.push_back(pattern_of(kind));
  return static_cast<HsmVariant>(names.size() - 1);
}

std::int64_t HsmConfig::option(std::string_view name) const {
  const std::vector<HsmOption>& known = hsm_variant(variant).options;
  for (std::size_t i = 0; i < known.size(); ++i) {
    if (known[i].name == name) return options.at(i);
  }
  raise<ValueError>("hsm: an option of the variant ", to_string(variant), " is required; got ", quote(name),
                    ", which it does not have; name it in nn/config/hsm_variants.def");
}

void HsmConfig::fields(LayerFields& fields) {
  fields.choice("variant", variant);
  fields.integer("heads", heads, {1, kMaxHeads});
  fields.integers("shifts", shifts, {1, kMaxContext}, {heads, "one shift per head"});
  fields.choice("proj", proj);
  fields.choice("boundary", boundary);
  const std::vector<HsmOption>& known = hsm_variant(variant).options;
  options.resize(known.size());
  for (std::size_t i = 0; i < known.size(); ++i) fields.integer(known[i].name, options[i], {1, known[i].high});
}

void HsmConfig::check(LayerRules& rules) const {
  rules.heads_divide_width(heads);
  rules.shifts(shifts, heads, "head");
  const std::vector<HsmOption>& known = hsm_variant(variant).options;
  if (options.size() != known.size()) {
    rules.broken(rules.key("options"), " must hold a value for each option of the variant ", to_string(variant), ", ",
                 known.size(), " values; got ", options.size(), "; give as many");
    return;
  }
  for (std::size_t i = 0; i < known.size(); ++i) rules.size(known[i].name, options[i], known[i].high);
}

}  // namespace mixgrad
