// Qwen2: Llama with a bias of q, k and v alone, and perhaps a window in some of the layers.
#include <algorithm>

#include "core/error.h"
#include "nn/exchange/hugging_face/hugging_face_model.h"

namespace mixgrad {
namespace {

using nlohmann::json;

constexpr const char* kFull = "full_attention";
constexpr const char* kSliding = "sliding_attention";

// Which layers have a window: layer_types says it, or else all from max_window_layers on have one.
std::vector<bool> windowed_layers(HuggingFaceConfig& config, std::size_t layers, bool sliding) {
  std::vector<bool> windowed(layers, false);
  const json* types = config.find("layer_types");
  if (types == nullptr) {
    const std::int64_t full = sliding ? 28 : 0;
    const json* given = config.find("max_window_layers");
    const std::int64_t from =
        given == nullptr ? full : json_integer(*given, config.place().key("max_window_layers"), 0, kMaxLayers);
    if (sliding && given == nullptr)
      config.decide("max_window_layers is not given; it is 28, as transformers takes it");
    for (std::size_t l = 0; l < layers; ++l) windowed[l] = sliding && static_cast<std::int64_t>(l) >= from;
    return windowed;
  }
  config.skip({"max_window_layers"});
  const JsonPlace place = config.place().key("layer_types");
  if (json_array(*types, place).size() != layers) place.wrong("an array of num_hidden_layers names", *types);
  for (std::size_t l = 0; l < layers; ++l) {
    const std::string& name = json_string((*types)[l], place.index(l));
    if (name != kFull && name != kSliding) {
      config.refuse(place.index(l).path, std::string(kFull) + " or " + kSliding, (*types)[l],
                    "a layer sees all tokens before it, or a window of them");
    }
    windowed[l] = name == kSliding;
    if (windowed[l] && !sliding) {
      config.refuse(place.index(l).path, std::string(kFull) + ", since use_sliding_window is false", (*types)[l],
                    "a window has a size");
    }
  }
  return windowed;
}

ModelConfig read_qwen2(HuggingFaceConfig& config) {
  ModelConfig model = rotary_decoder::read(config, 1e-6, false);
  config.require("use_mrope", false, "rotary positions are those of the text alone");
  const bool wanted = config.flag_or("use_sliding_window", false);
  const bool null = config.names("sliding_window") && config.find("sliding_window") == nullptr;
  std::int64_t window = 0;
  if (wanted && !null) window = config.size_or("sliding_window", 4096, kMaxContext);
  if (!wanted) config.skip({"sliding_window"});
  const std::vector<bool> windowed = windowed_layers(config, model.layers.size(), window != 0);
  for (std::size_t l = 0; l < model.layers.size(); ++l) {
    AttentionConfig attention = model.layers[l].get<AttentionConfig>();
    attention.qkv_bias = true;
    attention.window = windowed[l] ? window : 0;
    model.layers[l] = attention;
  }
  return model;
}

std::int64_t largest_window(const ModelConfig& config) {
  std::int64_t window = 0;
  for (const LayerConfig& layer : config.layers) window = std::max(window, layer.get<AttentionConfig>().window);
  return window;
}

std::string objection_to_qwen2(const ModelConfig& config) {
  if (std::string text = rotary_decoder::objection(config); !text.empty()) return text;
  if (config.bias) return "bias must be false; it is true";
  if (!has_qkv_bias(config)) return "qkv_bias must be true; it is false";
  const std::int64_t window = largest_window(config);
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    const std::int64_t here = config.layers[l].get<AttentionConfig>().window;
    if (here == 0 || here == window) continue;
    return "the layers with a window must have the same; layers[" + std::to_string(l) + "] has one of " +
           std::to_string(here) + " tokens, another " + std::to_string(window);
  }
  return {};
}

nlohmann::ordered_json write_qwen2(const ModelConfig& config) {
  nlohmann::ordered_json root = rotary_decoder::write(config, "qwen2", "Qwen2ForCausalLM");
  const std::int64_t window = largest_window(config);
  std::int64_t first = 0;
  while (first < static_cast<std::int64_t>(config.layers.size()) &&
         config.layers[static_cast<std::size_t>(first)].get<AttentionConfig>().window == 0) {
    ++first;
  }
  root["use_sliding_window"] = window != 0;
  root["sliding_window"] = window == 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(window);
  root["max_window_layers"] = first;
  root["layer_types"] = nlohmann::ordered_json::array();
  for (const LayerConfig& layer : config.layers) {
    root["layer_types"].push_back(layer.get<AttentionConfig>().window == 0 ? kFull : kSliding);
  }
  return root;
}

}  // namespace

HuggingFaceModel built_in::qwen2_model() {
  return {.type = "qwen2",
          .architecture = "Qwen2ForCausalLM",
          .prefix = "model.",
          .read = read_qwen2,
          .recipes = rotary_decoder::recipes,
          .is_buffer = rotary_decoder::is_buffer,
          .objection = objection_to_qwen2,
          .write = write_qwen2};
}

}  // namespace mixgrad
