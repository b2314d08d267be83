// A kind of model of Hugging Face: hugging_face_models.def lists them, models/NAME.cpp defines each.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "nn/config/kinds/attention.h"
#include "nn/config/model_config.h"
#include "nn/exchange/hugging_face/hugging_face_config.h"
#include "nn/exchange/tensor_recipe.h"

namespace mixgrad {

struct HuggingFaceModel {
  const char* type;          // "model_type" of config.json
  const char* architecture;  // the class with the head: "LlamaForCausalLM"
  const char* prefix;        // of the names of all tensors but the head's; a file of the class without a head lacks it
  // What config.json says. FormatError for what a ModelConfig cannot express. The context is 0 where there is none.
  ModelConfig (*read)(HuggingFaceConfig& config);
  // Of every parameter of a model that read() gives, in the model's order.
  TensorRecipes (*recipes)(const ModelConfig& config);
  // Whether a file may hold a tensor of this name that is no parameter, such as a mask.
  bool (*is_buffer)(std::string_view name);
  // Why this kind cannot express the model, as "what is required; what the model has"; "" when it can.
  std::string (*objection)(const ModelConfig& config);
  // The keys of config.json by which read() gives the model, in their order.
  nlohmann::ordered_json (*write)(const ModelConfig& config);
};

const std::vector<HuggingFaceModel>& hugging_face_models();
std::vector<std::string> hugging_face_model_types();
// By "model_type" of config.json. FormatError: none, one that is not known, or "architectures" without this kind's.
const HuggingFaceModel& hugging_face_model_of(HuggingFaceConfig& config);

namespace built_in {
#define HUGGING_FACE_MODEL(name) HuggingFaceModel name##_model();
#include "nn/exchange/hugging_face/hugging_face_models.def"
#undef HUGGING_FACE_MODEL
}  // namespace built_in

// What the kinds with rotary attention and a gated MLP share (models/rotary_decoder.cpp): Llama and its relatives.
namespace rotary_decoder {

// Sizes, norm, rotary positions, tie; one attention layer for each of num_hidden_layers. `eps`, `tie`: where
// config.json says nothing.
ModelConfig read(HuggingFaceConfig& config, double eps, bool tie);
TensorRecipes recipes(const ModelConfig& config);
bool is_buffer(std::string_view name);
// Everything but biases and windows.
std::string objection(const ModelConfig& config);
nlohmann::ordered_json write(const ModelConfig& config, const char* type, const char* architecture);

}  // namespace rotary_decoder

// "layers[3] must be attention; it is hsm", or a layer with other heads than the first; "" when all are attention
// alike.
std::string attention_objection(const ModelConfig& config);
// Of a model of attention layers that are alike: "no layer may have a window; layers[1] has one of 64 tokens".
std::string window_objection(const ModelConfig& config);
// Whether its layers have a bias of q, k and v.
bool has_qkv_bias(const ModelConfig& config);

}  // namespace mixgrad
