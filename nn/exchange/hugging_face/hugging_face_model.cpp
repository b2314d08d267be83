#include "nn/exchange/hugging_face/hugging_face_model.h"

#include <algorithm>

#include "core/error.h"
#include "core/text/suggest.h"

namespace mixgrad {

const std::vector<HuggingFaceModel>& hugging_face_models() {
  static const std::vector<HuggingFaceModel> models{
#define HUGGING_FACE_MODEL(name) built_in::name##_model(),
#include "nn/exchange/hugging_face/hugging_face_models.def"
#undef HUGGING_FACE_MODEL
  };
  return models;
}

std::vector<std::string> hugging_face_model_types() {
  std::vector<std::string> types;
  for (const HuggingFaceModel& model : hugging_face_models()) types.emplace_back(model.type);
  return types;
}

const HuggingFaceModel& hugging_face_model_of(HuggingFaceConfig& config) {
  const std::vector<HuggingFaceModel>& models = hugging_face_models();
  const JsonPlace place = config.place().key("model_type");
  const nlohmann::json* type = config.find("model_type");
  if (type == nullptr && config.names("d_model") && config.names("layers")) {
    raise<FormatError>(config.source(), ": a config.json of transformers is required; this one is of mixgrad; ",
                       "give the folder to --checkpoint");
  }
  if (type == nullptr) {
    place.fail(", one of " + join(hugging_face_model_types()) + ", is required; it is missing; " +
               "check that it is a folder of transformers");
  }
  const std::string& name = json_string(*type, place);
  const auto found = std::find_if(models.begin(), models.end(), [&](const auto& model) { return name == model.type; });
  if (found == models.end()) {
    raise<FormatError>(config.source(), ": model_type must be one of ", join(hugging_face_model_types()), "; found ",
                       quote(name), ", which cannot be imported");
  }
  if (const nlohmann::json* architectures = config.find("architectures")) {
    const JsonPlace list = config.place().key("architectures");
    bool names_it = false;
    for (const nlohmann::json& architecture : json_array(*architectures, list)) {
      names_it = names_it || architecture == found->architecture;
    }
    if (!names_it && !architectures->empty()) {
      config.refuse("architectures", std::string("[\"") + found->architecture + "\"]", *architectures,
                    "it is a decoder with a language model's head");
    }
  }
  return *found;
}

std::string attention_objection(const ModelConfig& config) {
  if (config.shortcut) return "there must be no shortcut; the last layer has one";
  const auto* first = config.layers[0].get_if<AttentionConfig>();
  std::string others;
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    const auto* attention = config.layers[l].get_if<AttentionConfig>();
    if (attention == nullptr) {
      others += (others.empty() ? "" : ", ") + std::string("layers[") + std::to_string(l) + "] is " +
                config.layers[l].kind().name;
    }
  }
  if (!others.empty()) return "every layer must be attention; " + others;
  for (std::size_t l = 1; l < config.layers.size(); ++l) {
    const auto& attention = config.layers[l].get<AttentionConfig>();
    if (attention.heads != first->heads || attention.kv_heads != first->kv_heads) {
      return "every layer must have the same heads; layers[" + std::to_string(l) + "] has others than layers[0]";
    }
    if (attention.qkv_bias.value_or(config.bias) != first->qkv_bias.value_or(config.bias)) {
      return "every layer must have the same qkv_bias; layers[" + std::to_string(l) + "] has another than layers[0]";
    }
  }
  return {};
}

std::string window_objection(const ModelConfig& config) {
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    const std::int64_t window = config.layers[l].get<AttentionConfig>().window;
    if (window == 0) continue;
    return "no layer may have a window; layers[" + std::to_string(l) + "] has one of " + std::to_string(window) +
           " tokens";
  }
  return {};
}

bool has_qkv_bias(const ModelConfig& config) {
  return config.layers[0].get<AttentionConfig>().qkv_bias.value_or(config.bias);
}

}  // namespace mixgrad
