// What Llama and its relatives share: RMSNorm, rotary positions in the rotate-half form, grouped key/value heads,
// SwiGLU.
#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/exchange/hugging_face/hugging_face_model.h"

namespace mixgrad::rotary_decoder {
namespace {

using nlohmann::json;

constexpr const char* kWhyRotary = "rotary positions turn by t theta^(-2i/dh), over the whole head";

// Since version 5 transformers writes rope_parameters, before it rope_theta and rope_scaling.
void read_rotary(HuggingFaceConfig& config, ModelConfig& model) {
  model.positions = Positions::rope;
  config.require("partial_rotary_factor", 1.0, kWhyRotary);
  bool has_theta = false;
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const json* rope = config.find(key);
    if (rope == nullptr) continue;
    const JsonPlace place = config.place().key(key);
    for (const auto& item : json_object(*rope, place).items()) {
      const std::string path = place.key(item.key()).path;
      if (item.key() == "rope_theta") {
        model.rope_theta = json_positive(item.value(), place.key(item.key()));
        has_theta = true;
      } else if (item.key() == "rope_type" || item.key() == "type") {
        if (item.value() != "default") config.refuse(path, "\"default\"", item.value(), kWhyRotary);
      } else if (item.key() == "partial_rotary_factor") {
        if (item.value() != 1.0) config.refuse(path, "1", item.value(), kWhyRotary);
      } else {
        config.refuse(path, "absent", item.value(), kWhyRotary);
      }
    }
  }
  if (!has_theta) {
    model.rope_theta = config.positive_or("rope_theta", 1e4);
  } else {
    config.skip({"rope_theta"});
  }
}

}  // namespace

ModelConfig read(HuggingFaceConfig& config, double eps, bool tie) {
  config.skip_common();
  config.skip({"pretraining_tp", "mlp_dropout", "resid_pdrop"});
  ModelConfig model;
  model.vocab_size = config.size("vocab_size", kMaxVocab);
  model.context = config.size("max_position_embeddings", kMaxContext);
  model.d_model = config.size("hidden_size", kMaxWidth);
  model.d_ff = config.size("intermediate_size", kMaxHidden);
  model.norm = Norm::rmsnorm;
  model.norm_eps = config.positive_or("rms_norm_eps", eps);
  model.mlp = Mlp::swiglu;
  model.bias = false;
  const std::string act = config.text_or("hidden_act", "silu");
  if (act != "silu" && act != "swish") {
    config.refuse("hidden_act", "\"silu\"", act, "the MLP is down(silu(gate u) * up u)");
  }
  model.tie_embeddings = config.flag_or("tie_word_embeddings", tie);
  AttentionConfig attention;
  attention.heads = config.size("num_attention_heads", kMaxHeads);
  attention.kv_heads =
      config.find("num_key_value_heads") == nullptr ? attention.heads : config.size("num_key_value_heads", kMaxHeads);
  if (const json* head = config.find("head_dim")) {
    const std::int64_t dh = json_integer(*head, config.place().key("head_dim"), 1, kMaxWidth);
    if (dh * attention.heads != model.d_model) {
      config.refuse("head_dim", "hidden_size / num_attention_heads", *head, "the heads share the width of the model");
    }
  }
  read_rotary(config, model);
  const std::int64_t layers = config.size("num_hidden_layers", kMaxLayers);
  model.layers.assign(static_cast<std::size_t>(layers), attention);
  return model;
}

TensorRecipes recipes(const ModelConfig& config) {
  const std::int64_t D = config.d_model, F = config.d_ff, V = config.vocab_size;
  RecipeList list;
  list.same("embed.weight", "model.embed_tokens.weight", {V, D});
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    const auto& attention = config.layers[l].get<AttentionConfig>();
    const std::int64_t K = D / attention.heads * attention.kv_heads;
    const std::string ours = "layers." + std::to_string(l), theirs = "model.layers." + std::to_string(l);
    list.same(ours + ".norm1.weight", theirs + ".input_layernorm.weight", {D});
    const std::string self = theirs + ".self_attn.";
    list.stacked(
        ours + ".mixer.qkv.weight", D,
        {{self + "q_proj.weight", {D, D}}, {self + "k_proj.weight", {K, D}}, {self + "v_proj.weight", {K, D}}});
    if (attention.qkv_bias.value_or(config.bias)) {
      list.stacked(ours + ".mixer.qkv.bias", 0,
                   {{self + "q_proj.bias", {D}}, {self + "k_proj.bias", {K}}, {self + "v_proj.bias", {K}}});
    }
    list.same(ours + ".mixer.o.weight", self + "o_proj.weight", {D, D});
    if (config.bias) list.same(ours + ".mixer.o.bias", self + "o_proj.bias", {D});
    list.same(ours + ".norm2.weight", theirs + ".post_attention_layernorm.weight", {D});
    for (const char* part : {"gate", "up", "down"}) {
      const bool down = part == std::string("down");
      const std::string our = ours + ".mlp." + part, their = theirs + ".mlp." + part + "_proj";
      list.same(our + ".weight", their + ".weight", down ? Shape{D, F} : Shape{F, D});
      if (config.bias) list.same(our + ".bias", their + ".bias", {down ? D : F});
    }
  }
  list.same("norm.weight", "model.norm.weight", {D});
  if (!config.tie_embeddings) list.same("head.weight", "lm_head.weight", {V, D});
  return list.take();
}

bool is_buffer(std::string_view name) { return name.ends_with(".rotary_emb.inv_freq"); }

std::string objection(const ModelConfig& config) {
  if (std::string text = attention_objection(config); !text.empty()) return text;
  if (config.norm != Norm::rmsnorm) return "norm must be rmsnorm; it is " + to_string(config.norm);
  if (config.positions != Positions::rope) return "positions must be rope; they are " + to_string(config.positions);
  if (config.mlp != Mlp::swiglu) return "mlp must be swiglu; it is " + to_string(config.mlp);
  return {};
}

nlohmann::ordered_json write(const ModelConfig& config, const char* type, const char* architecture) {
  const auto& attention = config.layers[0].get<AttentionConfig>();
  nlohmann::ordered_json root;
  root["architectures"] = {architecture};
  root["model_type"] = type;
  root["vocab_size"] = config.vocab_size;
  root["hidden_size"] = config.d_model;
  root["intermediate_size"] = config.d_ff;
  root["num_hidden_layers"] = config.layers.size();
  root["num_attention_heads"] = attention.heads;
  root["num_key_value_heads"] = attention.kv_heads;
  root["head_dim"] = config.d_model / attention.heads;
  root["hidden_act"] = "silu";
  root["max_position_embeddings"] = config.context;
  root["rms_norm_eps"] = config.norm_eps;
  root["rope_theta"] = config.rope_theta;
  root["rope_scaling"] = nullptr;
  root["tie_word_embeddings"] = config.tie_embeddings;
  return root;
}

}  // namespace mixgrad::rotary_decoder
