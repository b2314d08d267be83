// Mistral: Llama with a window, the same in every layer.
#include "nn/exchange/hugging_face/hugging_face_model.h"

namespace mixgrad {
namespace {

constexpr const char* kWindow = "sliding_window";
constexpr std::int64_t kUsualWindow = 4096;  // where config.json has no such key; null means no window

std::int64_t window_of(const ModelConfig& config) { return config.layers[0].get<AttentionConfig>().window; }

ModelConfig read_mistral(HuggingFaceConfig& config) {
  ModelConfig model = rotary_decoder::read(config, 1e-6, false);
  config.require("attention_bias", false, "no linear of Mistral has a bias");
  std::int64_t window = 0;
  if (!config.names(kWindow) || config.find(kWindow) != nullptr) {
    window = config.size_or(kWindow, kUsualWindow, kMaxContext);
  }
  for (LayerConfig& layer : model.layers) {
    AttentionConfig attention = layer.get<AttentionConfig>();
    attention.window = window;
    layer = attention;
  }
  return model;
}

std::string objection_to_mistral(const ModelConfig& config) {
  if (std::string text = rotary_decoder::objection(config); !text.empty()) return text;
  if (config.bias || has_qkv_bias(config)) {
    return std::string(config.bias ? "bias" : "qkv_bias") + " must be false; it is true";
  }
  for (std::size_t l = 1; l < config.layers.size(); ++l) {
    if (config.layers[l].get<AttentionConfig>().window == window_of(config)) continue;
    return "every layer must have the same window; layers[" + std::to_string(l) + "] has another than layers[0]";
  }
  return {};
}

nlohmann::ordered_json write_mistral(const ModelConfig& config) {
  nlohmann::ordered_json root = rotary_decoder::write(config, "mistral", "MistralForCausalLM");
  root[kWindow] = window_of(config) == 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(window_of(config));
  return root;
}

}  // namespace

HuggingFaceModel built_in::mistral_model() {
  return {.type = "mistral",
          .architecture = "MistralForCausalLM",
          .prefix = "model.",
          .read = read_mistral,
          .recipes = rotary_decoder::recipes,
          .is_buffer = rotary_decoder::is_buffer,
          .objection = objection_to_mistral,
          .write = write_mistral};
}

}  // namespace mixgrad
