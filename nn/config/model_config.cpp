#include "nn/config/model_config.h"

#include <optional>

#include "core/error.h"
#include "nn/config/layer_json.h"
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
  static const std::vector<std::string> names{"gelu", "gelu_erf", "relu", "swiglu", "none"};
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
E json_enum(const json& value, const JsonPlace& place) {
  return static_cast<E>(json_name(value, place, enum_names<E>()));
}

const std::vector<std::string> kTopKeys{"vocab_size",     "context",   "d_model",    "d_ff", "norm",
                                        "norm_eps",       "positions", "rope_theta", "mlp",  "bias",
                                        "tie_embeddings", "layers",    "shortcut"};
const std::vector<std::string> kShortcutKeys{"sources", "hidden", "concat"};

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

ordered_json shortcut_json(const ShortcutConfig& shortcut) {
  return {{"sources", shortcut.sources}, {"hidden", shortcut.hidden}, {"concat", to_string(shortcut.concat)}};
}

}  // namespace

ModelConfig parse_model_config(std::string_view text, const std::string& source) {
  const json root = parse_strict_json(text, source);
  const JsonPlace place{source, ""};
  json_exact_keys(root, place, kTopKeys);
  ModelConfig config;
  config.vocab_size = json_integer(root["vocab_size"], place.key("vocab_size"), 1, kMaxVocab);
  config.context = json_integer(root["context"], place.key("context"), 1, kMaxContext);
  config.d_model = json_integer(root["d_model"], place.key("d_model"), 1, kMaxWidth);
  config.d_ff = json_integer(root["d_ff"], place.key("d_ff"), 0, kMaxHidden);
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
    config.layers.push_back(read_layer(layers[i], place.key("layers").index(i), config.bias));
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
  for (const LayerConfig& layer : config.layers) root["layers"].push_back(layer_json(layer, config.bias));
  root["shortcut"] = config.shortcut ? shortcut_json(*config.shortcut) : ordered_json();
  return root.dump(2) + "\n";
}

}  // namespace mixgrad
