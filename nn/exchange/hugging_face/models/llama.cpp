// Llama 1 to 3 without scaled rotary positions.
#include "nn/exchange/hugging_face/hugging_face_model.h"

namespace mixgrad {
namespace {

ModelConfig read_llama(HuggingFaceConfig& config) {
  ModelConfig model = rotary_decoder::read(config, 1e-6, false);
  const bool attention = config.flag_or("attention_bias", false), mlp = config.flag_or("mlp_bias", false);
  if (attention != mlp) {
    config.refuse(
        "mlp_bias", attention ? "true" : "false", mlp,
        "either every linear has a bias or none (attention_bias is " + std::string(attention ? "true)" : "false)"));
  }
  model.bias = attention;
  return model;
}

std::string objection_to_llama(const ModelConfig& config) {
  if (std::string text = rotary_decoder::objection(config); !text.empty()) return text;
  if (std::string text = window_objection(config); !text.empty()) return text;
  if (has_qkv_bias(config) != config.bias) return "qkv_bias must be as bias; it is the opposite";
  return {};
}

nlohmann::ordered_json write_llama(const ModelConfig& config) {
  nlohmann::ordered_json root = rotary_decoder::write(config, "llama", "LlamaForCausalLM");
  root["attention_bias"] = config.bias;
  root["mlp_bias"] = config.bias;
  return root;
}

}  // namespace

HuggingFaceModel built_in::llama_model() {
  return {.type = "llama",
          .architecture = "LlamaForCausalLM",
          .prefix = "model.",
          .read = read_llama,
          .recipes = rotary_decoder::recipes,
          .is_buffer = rotary_decoder::is_buffer,
          .objection = objection_to_llama,
          .write = write_llama};
}

}  // namespace mixgrad
