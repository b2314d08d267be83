#include "nn/model_config.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <sstream>

#include "core/error.h"
#include "nn/strict_json.h"
#include "nn/suggest.h"

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
  static const std::vector<std::string> names{"scalar", "vector"};
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

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

const std::vector<std::string> kTopKeys{"vocab_size",     "context",   "d_model",    "d_ff", "norm",
                                        "norm_eps",       "positions", "rope_theta", "mlp",  "bias",
                                        "tie_embeddings", "layers",    "shortcut"};
const std::vector<std::string> kAttentionKeys{"mixer", "heads", "kv_heads"};
const std::vector<std::string> kHsmKeys{"mixer", "variant", "heads", "shifts", "proj", "boundary"};

AttentionConfig parse_attention(const json& layer, const JsonPlace& place) {
  json_exact_keys(layer, place, kAttentionKeys);
  AttentionConfig config;
  config.heads = json_integer(layer["heads"], place.key("heads"), 1, kMaxHeads);
  config.kv_heads = json_integer(layer["kv_heads"], place.key("kv_heads"), 1, kMaxHeads);
  return config;
}

HsmConfig parse_hsm(const json& layer, const JsonPlace& place) {
  const JsonPlace variant_place = place.key("variant");
  // Before the keys: other variants have other keys, and the variant is then what must be said.
  const json& variant = json_at(layer, place, "variant");
  if (variant.is_string() && contains(future_hsm_variant_names(), variant.get_ref<const std::string&>())) {
    variant_place.fail(" is " + describe(variant) + ", which this version does not have yet; it has " +
                       join(enum_names<HsmVariant>()));
  }
  HsmConfig config;
  config.variant = json_enum<HsmVariant>(variant, variant_place);
  json_exact_keys(layer, place, kHsmKeys);
  config.heads = json_integer(layer["heads"], place.key("heads"), 1, kMaxHeads);
  const json& shifts = json_array(layer["shifts"], place.key("shifts"));
  if (shifts.size() != static_cast<std::size_t>(config.heads)) {
    place.key("shifts").wrong("an array of one shift per head, " + std::to_string(config.heads) + " values", shifts);
  }
  for (std::size_t i = 0; i < shifts.size(); ++i) {
    config.shifts.push_back(json_integer(shifts[i], place.key("shifts").index(i), 1, kMaxContext));
  }
  config.proj = json_enum<HsmProjection>(layer["proj"], place.key("proj"));
  config.boundary = json_enum<Boundary>(layer["boundary"], place.key("boundary"));
  return config;
}

LayerConfig parse_layer(const json& layer, const JsonPlace& place) {
  json_object(layer, place);
  const json& mixer = json_at(layer, place, "mixer");
  const JsonPlace mixer_place = place.key("mixer");
  const std::string& name = json_string(mixer, mixer_place);
  if (name == "attention") return parse_attention(layer, place);
  if (name == "hsm") return parse_hsm(layer, place);
  if (contains(future_mixer_names(), name)) {
    mixer_place.fail(" is " + quote(name) + ", which this version does not have yet; it has " + join(mixer_names()));
  }
  const std::string best = nearest(name, mixer_names());
  mixer_place.wrong("one of " + join(mixer_names()) + (best.empty() ? "" : " (did you mean " + quote(best) + "?)"),
                    mixer);
}

// The first rule that is broken, as "what is required; what came; what to do"; empty when all hold.
class Rules {
 public:
  explicit Rules(const ModelConfig& config) : config_(config) {}

  std::string first_broken() {
    size("vocab_size", config_.vocab_size, kMaxVocab);
    size("context", config_.context, kMaxContext);
    size("d_model", config_.d_model, kMaxWidth);
    size("d_ff", config_.d_ff, kMaxHidden);
    positive("norm_eps", config_.norm_eps);
    positive("rope_theta", config_.rope_theta);
    const auto count = static_cast<std::int64_t>(config_.layers.size());
    if (count < 1 || count > kMaxLayers) {
      broken("there must be from 1 to ", kMaxLayers, " layers; got ", count, "; change the number of layers");
    }
    for (std::size_t i = 0; i < config_.layers.size() && text_.empty(); ++i) {
      const std::string place = "layers[" + std::to_string(i) + "]";
      std::visit([&](const auto& layer) { check(place, layer); }, config_.layers[i]);
    }
    return text_;
  }

 private:
  template <class... Parts>
  void broken(const Parts&... parts) {
    if (!text_.empty()) return;
    std::ostringstream out;
    (out << ... << parts);
    text_ = out.str();
  }

  void size(const std::string& name, std::int64_t value, std::int64_t high) {
    if (value < 1 || value > high) {
      broken(name, " must be from 1 to ", high, "; got ", value, "; choose a value in this range");
    }
  }

  void positive(const std::string& name, double value) {
    if (!(value > 0) || !std::isfinite(value)) {
      broken(name, " must be a finite number above 0; got ", value, "; choose a positive value");
    }
  }

  void heads_divide(const std::string& place, std::int64_t heads) {
    size(place + ".heads", heads, kMaxHeads);
    if (text_.empty() && config_.d_model % heads != 0) {
      broken("d_model must be a multiple of ", place, ".heads; got ", config_.d_model, " and ", heads,
             "; choose a number of heads that divides ", config_.d_model);
    }
  }

  void check(const std::string& place, const AttentionConfig& layer) {
    heads_divide(place, layer.heads);
    size(place + ".kv_heads", layer.kv_heads, kMaxHeads);
    if (!text_.empty()) return;
    if (layer.heads % layer.kv_heads != 0) {
      broken(place, ".heads must be a multiple of kv_heads; got ", layer.heads, " and ", layer.kv_heads,
             "; choose a number of kv_heads that divides ", layer.heads);
    }
    const std::int64_t width = config_.d_model / layer.heads;
    if (config_.positions == Positions::rope && width % 2 != 0) {
      broken("positions rope needs an even head width d_model / heads; got ", config_.d_model, " / ", layer.heads,
             " = ", width, " in ", place, "; choose another number of heads or positions learned or none");
    }
  }

  void check(const std::string& place, const HsmConfig& layer) {
    heads_divide(place, layer.heads);
    if (!text_.empty()) return;
    if (layer.shifts.size() != static_cast<std::size_t>(layer.heads)) {
      broken(place, ".shifts must hold one shift per head; got ", layer.shifts.size(), " shifts and ", layer.heads,
             " heads; give as many shifts as heads");
    }
    for (std::size_t i = 0; i < layer.shifts.size(); ++i) {
      size(place + ".shifts[" + std::to_string(i) + "]", layer.shifts[i], kMaxContext);
    }
  }

  const ModelConfig& config_;
  std::string text_;
};

ordered_json layer_json(const AttentionConfig& layer) {
  return {{"mixer", "attention"}, {"heads", layer.heads}, {"kv_heads", layer.kv_heads}};
}

ordered_json layer_json(const HsmConfig& layer) {
  return {{"mixer", "hsm"},         {"variant", to_string(layer.variant)}, {"heads", layer.heads},
          {"shifts", layer.shifts}, {"proj", to_string(layer.proj)},       {"boundary", to_string(layer.boundary)}};
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

const std::vector<std::string>& mixer_names() {
  static const std::vector<std::string> names{"attention", "hsm"};
  return names;
}

const std::vector<std::string>& future_mixer_names() {
  static const std::vector<std::string> names{"recurformer"};
  return names;
}

const std::vector<std::string>& future_hsm_variant_names() {
  static const std::vector<std::string> names{"matrix", "gate_single", "gate_double", "fusion"};
  return names;
}

void validate(const ModelConfig& config, std::string_view what) {
  const std::string broken = Rules(config).first_broken();
  if (!broken.empty()) raise<ValueError>(what, ": ", broken);
}

ModelConfig parse_model_config(std::string_view text, const std::string& source) {
  const json root = parse_strict_json(text, source);
  const JsonPlace place{source, ""};
  json_exact_keys(root, place, kTopKeys);
  if (!root["shortcut"].is_null()) {
    raise<FormatError>(source, ": shortcut must be null: attention shortcuts are not available in this version; found ",
                       describe(root["shortcut"]), "; use a model without them");
  }
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
  const std::string broken = Rules(config).first_broken();
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
  root["shortcut"] = nullptr;
  return root.dump(2) + "\n";
}

}  // namespace mixgrad
