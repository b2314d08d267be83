#include "nn/config/model_config.h"

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/files/strict_json.h"

namespace mixgrad {

template <>
const std::vector<std::string>& enum_names<Norm>() {
  static const std::vector<std::string> names{"layernorm", "rmsnorm"};
  return names;
}
template <>
const std::vector<std::string>& enum_names<Positions>() {
  static const std::vector<std::string> names{"learned", "rope", "none"};
  return names;
}
template <>
const std::vector<std::string>& enum_names<Mlp>() {
  static const std::vector<std::string> names{"gelu", "gelu_erf", "relu", "swiglu"};
  return names;
}
template <>
const std::vector<std::string>& enum_names<HsmVariant>() {
  static const std::vector<std::string> names{
#define HSM_VARIANT(name, class) #name,
#include "nn/config/hsm_variants.def"
#undef HSM_VARIANT
  };
  return names;
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

template <>
const std::vector<std::string>& enum_names<ShortcutConcat>() {
  static const std::vector<std::string> names{"sequence", "feature", "depth"};
  return names;
}

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

template <class E>
std::optional<E> find_enum(std::string_view name) {
  const auto& names = enum_names<E>();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return std::nullopt;
  return static_cast<E>(found - names.begin());
}

template <class E>
E json_enum(const json& value, const JsonPlace& place) {
  const std::string must = "one of " + join(enum_names<E>());
  if (!value.is_string()) place.wrong(must, value);
  const auto& name = value.get_ref<const std::string&>();
  const std::optional<E> found = find_enum<E>(name);
  if (!found) {
    const std::string best = nearest(name, enum_names<E>());
    place.wrong(must + (best.empty() ? "" : " (did you mean " + quote(best) + "?)"), value);
  }
  return *found;
}

const std::vector<std::string> kTopKeys{"vocab_size",     "context",   "d_model",    "d_ff", "norm",
                                        "norm_eps",       "positions", "rope_theta", "mlp",  "bias",
                                        "tie_embeddings", "layers",    "shortcut"};
const std::vector<std::string> kAttentionKeys{"mixer", "heads", "kv_heads"};
const std::vector<std::string> kHsmKeys{"mixer", "variant", "heads", "shifts", "proj", "boundary"};
const std::vector<std::string> kFusionKeys{"mixer", "variant", "heads", "shifts", "proj", "boundary", "hidden"};
const std::vector<std::string> kRecurformerKeys{"mixer",  "heads",  "kv_heads", "recurrent_groups", "d_state",
                                                "d_conv", "expand", "dt_rank",  "shift_groups",     "shifts"};
const std::vector<std::string> kShortcutKeys{"sources", "hidden", "concat"};

std::vector<std::int64_t> json_integers(const json& value, const JsonPlace& place, std::int64_t low,
                                        std::int64_t high) {
  json_array(value, place);
  std::vector<std::int64_t> numbers;
  for (std::size_t i = 0; i < value.size(); ++i) numbers.push_back(json_integer(value[i], place.index(i), low, high));
  return numbers;
}

AttentionConfig parse_attention(const json& layer, const JsonPlace& place) {
  json_exact_keys(layer, place, kAttentionKeys);
  AttentionConfig config;
  config.heads = json_integer(layer["heads"], place.key("heads"), 1, kMaxHeads);
  config.kv_heads = json_integer(layer["kv_heads"], place.key("kv_heads"), 1, kMaxHeads);
  return config;
}

HsmConfig parse_hsm(const json& layer, const JsonPlace& place) {
  HsmConfig config;
  config.variant = json_enum<HsmVariant>(json_at(layer, place, "variant"), place.key("variant"));
  const bool fusion = config.variant == HsmVariant::fusion;
  json_exact_keys(layer, place, fusion ? kFusionKeys : kHsmKeys);
  config.heads = json_integer(layer["heads"], place.key("heads"), 1, kMaxHeads);
  const json& shifts = json_array(layer["shifts"], place.key("shifts"));
  if (shifts.size() != static_cast<std::size_t>(config.heads)) {
    place.key("shifts").wrong("an array of one shift per head, " + std::to_string(config.heads) + " values", shifts);
  }
  config.shifts = json_integers(shifts, place.key("shifts"), 1, kMaxContext);
  config.proj = json_enum<HsmProjection>(layer["proj"], place.key("proj"));
  config.boundary = json_enum<Boundary>(layer["boundary"], place.key("boundary"));
  if (fusion) config.hidden = json_integer(layer["hidden"], place.key("hidden"), 1, kMaxHidden);
  return config;
}

RecurformerConfig parse_recurformer(const json& layer, const JsonPlace& place) {
  json_exact_keys(layer, place, kRecurformerKeys);
  const auto integer = [&](const char* key, std::int64_t high) {
    return json_integer(layer[key], place.key(key), 1, high);
  };
  RecurformerConfig config;
  config.heads = integer("heads", kMaxHeads);
  config.kv_heads = integer("kv_heads", kMaxHeads);
  const auto groups = [&](const char* key) {
    return json_integers(layer[key], place.key(key), 0, config.kv_heads - 1);
  };
  config.recurrent_groups = groups("recurrent_groups");
  config.d_state = integer("d_state", kMaxState);
  config.d_conv = integer("d_conv", kMaxConv);
  config.expand = integer("expand", kMaxExpand);
  config.dt_rank = integer("dt_rank", kMaxRank);
  config.shift_groups = groups("shift_groups");
  config.shifts = json_integers(layer["shifts"], place.key("shifts"), 1, kMaxContext);
  return config;
}

LayerConfig parse_layer(const json& layer, const JsonPlace& place) {
  json_object(layer, place);
  const json& mixer = json_at(layer, place, "mixer");
  const std::string& name = json_string(mixer, place.key("mixer"));
  if (name == "attention") return parse_attention(layer, place);
  if (name == "hsm") return parse_hsm(layer, place);
  if (name == "recurformer") return parse_recurformer(layer, place);
  const std::string best = nearest(name, mixer_names());
  place.key("mixer").wrong(
      "one of " + join(mixer_names()) + (best.empty() ? "" : " (did you mean " + quote(best) + "?)"), mixer);
}

std::optional<ShortcutConfig> parse_shortcut(const json& shortcut, const JsonPlace& place) {
  if (shortcut.is_null()) return std::nullopt;
  if (!shortcut.is_object()) place.wrong("null or an object", shortcut);
  json_exact_keys(shortcut, place, kShortcutKeys);
  ShortcutConfig config;
  config.sources = json_integers(shortcut["sources"], place.key("sources"), 0, kMaxLayers);
  config.hidden = json_integer(shortcut["hidden"], place.key("hidden"), 1, kMaxHidden);
  config.concat = json_enum<ShortcutConcat>(shortcut["concat"], place.key("concat"));
  return config;
}

ordered_json layer_json(const AttentionConfig& layer) {
  return {{"mixer", "attention"}, {"heads", layer.heads}, {"kv_heads", layer.kv_heads}};
}

ordered_json layer_json(const HsmConfig& layer) {
  ordered_json value{
      {"mixer", "hsm"},         {"variant", to_string(layer.variant)}, {"heads", layer.heads},
      {"shifts", layer.shifts}, {"proj", to_string(layer.proj)},       {"boundary", to_string(layer.boundary)}};
  if (layer.variant == HsmVariant::fusion) value["hidden"] = layer.hidden;
  return value;
}

ordered_json layer_json(const RecurformerConfig& layer) {
  return {{"mixer", "recurformer"},
          {"heads", layer.heads},
          {"kv_heads", layer.kv_heads},
          {"recurrent_groups", layer.recurrent_groups},
          {"d_state", layer.d_state},
          {"d_conv", layer.d_conv},
          {"expand", layer.expand},
          {"dt_rank", layer.dt_rank},
          {"shift_groups", layer.shift_groups},
          {"shifts", layer.shifts}};
}

ordered_json shortcut_json(const ShortcutConfig& shortcut) {
  return {{"sources", shortcut.sources}, {"hidden", shortcut.hidden}, {"concat", to_string(shortcut.concat)}};
}

}  // namespace

template <class E>
E parse_enum(std::string_view name, std::string_view what) {
  const std::optional<E> found = find_enum<E>(name);
  if (!found) {
    raise<ValueError>(what, " must be one of ", join(enum_names<E>()), "; got ", quote(name), "; ",
                      did_you_mean(name, enum_names<E>()), "choose one of them");
  }
  return *found;
}
template Norm parse_enum<Norm>(std::string_view, std::string_view);
template Positions parse_enum<Positions>(std::string_view, std::string_view);
template Mlp parse_enum<Mlp>(std::string_view, std::string_view);
template HsmVariant parse_enum<HsmVariant>(std::string_view, std::string_view);
template HsmProjection parse_enum<HsmProjection>(std::string_view, std::string_view);
template Boundary parse_enum<Boundary>(std::string_view, std::string_view);
template ShortcutConcat parse_enum<ShortcutConcat>(std::string_view, std::string_view);

const std::vector<std::string>& mixer_names() {
  static const std::vector<std::string> names{"attention", "hsm", "recurformer"};
  return names;
}

ModelConfig parse_model_config(std::string_view text, const std::string& source) {
  const json root = parse_strict_json(text, source);
  const JsonPlace place{source, ""};
  json_exact_keys(root, place, kTopKeys);
  ModelConfig config;
  config.vocab_size = json_integer(root["vocab_size"], place.key("vocab_size"), 1, kMaxVocab);
  config.context = json_integer(root["context"], place.key("context"), 1, kMaxContext);
  config.d_model = json_integer(root["d_model"], place.key("d_model"), 1, kMaxWidth);
  config.d_ff = json_integer(root["d_ff"], place.key("d_ff"), 1, kMaxHidden);
  config.norm = json_enum<Norm>(root["norm"], place.key("norm"));
  config.norm_eps = json_positive(root["norm_eps"], place.key("norm_eps"));
  config.positions = json_enum<Positions>(root["positions"], place.key("positions"));
  config.rope_theta = json_positive(root["rope_theta"], place.key("rope_theta"));
  config.mlp = json_enum<Mlp>(root["mlp"], place.key("mlp"));
  config.bias = json_bool(root["bias"], place.key("bias"));
  config.tie_embeddings = json_bool(root["tie_embeddings"], place.key("tie_embeddings"));
  const json& layers = json_array(root["layers"], place.key("layers"));
  if (layers.empty() || layers.size() > static_cast<std::size_t>(kMaxLayers)) {
    place.key("layers").wrong("an array of 1 to " + std::to_string(kMaxLayers) + " layers", layers);
  }
  for (std::size_t i = 0; i < layers.size(); ++i) {
    config.layers.push_back(parse_layer(layers[i], place.key("layers").index(i)));
  }
  config.shortcut = parse_shortcut(root["shortcut"], place.key("shortcut"));
  const std::string broken = first_broken_rule(config);
  if (!broken.empty()) raise<FormatError>(source, ": ", broken);
  return config;
}

std::string to_json(const ModelConfig& config) {
  ordered_json root;
  root["vocab_size"] = config.vocab_size;
  root["context"] = config.context;
  root["d_model"] = config.d_model;
  root["d_ff"] = config.d_ff;
  root["norm"] = to_string(config.norm);
  root["norm_eps"] = config.norm_eps;
  root["positions"] = to_string(config.positions);
  root["rope_theta"] = config.rope_theta;
  root["mlp"] = to_string(config.mlp);
  root["bias"] = config.bias;
  root["tie_embeddings"] = config.tie_embeddings;
  root["layers"] = ordered_json::array();
  for (const LayerConfig& layer : config.layers) {
    root["layers"].push_back(std::visit([](const auto& value) { return layer_json(value); }, layer));
  }
  root["shortcut"] = config.shortcut ? shortcut_json(*config.shortcut) : ordered_json();
  return root.dump(2) + "\n";
}

}  // namespace mixgrad
