// GPT-2. Its linears are of the class Conv1D, whose weights are [in,out].
#include <map>

#include "nn/exchange/hugging_face/hugging_face_model.h"

namespace mixgrad {
namespace {

using nlohmann::json;

// Their names of the activations that we have; the first of each is the one that is written. gelu_new,
// gelu_pytorch_tanh and gelu_fast are the same function.
const std::vector<std::pair<const char*, Mlp>>& activations() {
  static const std::vector<std::pair<const char*, Mlp>> names{{"gelu_new", Mlp::gelu},
                                                              {"gelu_pytorch_tanh", Mlp::gelu},
                                                              {"gelu_fast", Mlp::gelu},
                                                              {"gelu", Mlp::gelu_erf},
                                                              {"relu", Mlp::relu}};
  return names;
}

ModelConfig read_gpt2(HuggingFaceConfig& config) {
  config.skip_common();
  config.skip({"n_ctx", "resid_pdrop", "embd_pdrop", "attn_pdrop", "summary_type", "summary_use_proj",
               "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "reorder_and_upcast_attn"});
  config.require("scale_attn_weights", true, "scores are divided by the root of the head's width");
  config.require("scale_attn_by_inverse_layer_idx", false, "scores do not depend on the number of the layer");
  ModelConfig model;
  model.vocab_size = config.size("vocab_size", kMaxVocab);
  model.context = config.size("n_positions", kMaxContext);
  model.d_model = config.size("n_embd", kMaxWidth);
  model.d_ff = config.find("n_inner") == nullptr ? 4 * model.d_model : config.size("n_inner", kMaxHidden);
  model.norm = Norm::layernorm;
  model.norm_eps = config.positive_or("layer_norm_epsilon", 1e-5);
  model.positions = Positions::learned;
  model.bias = true;
  model.tie_embeddings = config.flag_or("tie_word_embeddings", true);
  const std::string activation = config.text_or("activation_function", "gelu_new");
  bool known = false;
  std::string names;
  for (const auto& [name, mlp] : activations()) {
    names += (names.empty() ? "\"" : ", \"") + std::string(name) + "\"";
    if (activation != name) continue;
    model.mlp = mlp;
    known = true;
  }
  if (!known) config.refuse("activation_function", "one of " + names, activation, "it is no activation of the MLP");
  const std::int64_t heads = config.size("n_head", kMaxHeads);
  model.layers.assign(static_cast<std::size_t>(config.size("n_layer", kMaxLayers)),
                      AttentionConfig{.heads = heads, .kv_heads = heads});
  return model;
}

TensorRecipes gpt2_recipes(const ModelConfig& config) {
  const std::int64_t D = config.d_model, F = config.d_ff, V = config.vocab_size;
  RecipeList list;
  list.same("embed.weight", "transformer.wte.weight", {V, D});
  list.same("pos.weight", "transformer.wpe.weight", {config.context, D});
  const auto norm = [&](const std::string& ours, const std::string& theirs) {
    list.same(ours + ".weight", theirs + ".weight", {D});
    list.same(ours + ".bias", theirs + ".bias", {D});
  };
  const auto linear = [&](const std::string& ours, const std::string& theirs, std::int64_t out, std::int64_t in) {
    list.transposed(ours + ".weight", theirs + ".weight", out, in);
    list.same(ours + ".bias", theirs + ".bias", {out});
  };
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    const std::string ours = "layers." + std::to_string(l), theirs = "transformer.h." + std::to_string(l);
    norm(ours + ".norm1", theirs + ".ln_1");
    linear(ours + ".mixer.qkv", theirs + ".attn.c_attn", 3 * D, D);
    linear(ours + ".mixer.o", theirs + ".attn.c_proj", D, D);
    norm(ours + ".norm2", theirs + ".ln_2");
    linear(ours + ".mlp.up", theirs + ".mlp.c_fc", F, D);
    linear(ours + ".mlp.down", theirs + ".mlp.c_proj", D, F);
  }
  norm("norm", "transformer.ln_f");
  if (!config.tie_embeddings) list.same("head.weight", "lm_head.weight", {V, D});
  return list.take();
}

// The causal mask, which older versions stored.
bool is_gpt2_buffer(std::string_view name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
}

std::string objection_to_gpt2(const ModelConfig& config) {
  if (std::string text = attention_objection(config); !text.empty()) return text;
  if (config.norm != Norm::layernorm) return "norm must be layernorm; it is " + to_string(config.norm);
  if (config.positions != Positions::learned) {
    return "positions must be learned; they are " + to_string(config.positions);
  }
  if (!config.bias) return "bias must be true; it is false";
  if (!has_qkv_bias(config)) return "qkv_bias must be true; it is false";
  if (std::string text = window_objection(config); !text.empty()) return text;
  switch (config.mlp) {
    case Mlp::gelu:
    case Mlp::gelu_erf:
    case Mlp::relu: break;
    case Mlp::swiglu:
    case Mlp::none: return "mlp must be gelu, gelu_erf or relu; it is " + to_string(config.mlp);
  }
  const auto& attention = config.layers[0].get<AttentionConfig>();
  if (attention.heads != attention.kv_heads) {
    return "kv_heads must be heads; they are " + std::to_string(attention.kv_heads) + " and " +
           std::to_string(attention.heads);
  }
  return {};
}

nlohmann::ordered_json write_gpt2(const ModelConfig& config) {
  nlohmann::ordered_json root;
  root["architectures"] = {"GPT2LMHeadModel"};
  root["model_type"] = "gpt2";
  root["vocab_size"] = config.vocab_size;
  root["n_positions"] = config.context;
  root["n_embd"] = config.d_model;
  root["n_layer"] = config.layers.size();
  root["n_head"] = config.layers[0].get<AttentionConfig>().heads;
  root["n_inner"] = config.d_ff;
  for (const auto& [name, mlp] : activations()) {
    if (mlp == config.mlp && !root.contains("activation_function")) root["activation_function"] = name;
  }
  root["layer_norm_epsilon"] = config.norm_eps;
  root["scale_attn_weights"] = true;
  root["tie_word_embeddings"] = config.tie_embeddings;
  return root;
}

}  // namespace

HuggingFaceModel built_in::gpt2_model() {
  return {.type = "gpt2",
          .architecture = "GPT2LMHeadModel",
          .prefix = "transformer.",
          .read = read_gpt2,
          .recipes = gpt2_recipes,
          .is_buffer = is_gpt2_buffer,
          .objection = objection_to_gpt2,
          .write = write_gpt2};
}

}  // namespace mixgrad
