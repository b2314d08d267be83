// Mamba-1 as transformers has it: here one recurrent head as wide as the model in each layer, without a product after
// it, and no MLP.
#include "nn/config/kinds/mixed_heads.h"
#include "nn/config/layer_kind.h"
#include "nn/exchange/hugging_face/hugging_face_model.h"

namespace mixgrad {
namespace {

using nlohmann::json;

ModelConfig read_mamba(HuggingFaceConfig& config) {
  config.skip_common();
  config.skip({"residual_in_fp32", "rescale_prenorm_residual", "time_step_init_scheme", "time_step_max",
               "time_step_min", "time_step_floor", "time_step_scale", "use_mambapy", "use_associative_scan"});
  config.require("use_bias", false, "in_proj and out_proj have no bias");
  config.require("use_conv_bias", true, "the convolution has a bias");
  config.require("hidden_act", "silu", "both branches of the block go through silu");
  ModelConfig model;
  model.vocab_size = config.size("vocab_size", kMaxVocab);
  model.d_model = config.size("hidden_size", kMaxWidth);
  model.d_ff = 0;
  model.norm = Norm::rmsnorm;
  model.norm_eps = config.positive_or("layer_norm_epsilon", 1e-5);
  model.positions = Positions::none;
  model.mlp = Mlp::none;
  model.bias = false;
  model.tie_embeddings = config.flag_or("tie_word_embeddings", true);
  MixedHeadsConfig head{.heads = 1, .kv_heads = 1, .recurrent_groups = {0}, .o = false};
  head.d_state = config.size_or("state_size", 16, kMaxState);
  head.d_conv = config.size_or("conv_kernel", 4, kMaxConv);
  head.expand = config.size_or("expand", 2, kMaxExpand);
  if (const json* inner = config.find("intermediate_size")) {
    if (*inner != head.expand * model.d_model) {
      config.refuse("intermediate_size", "expand * hidden_size", *inner,
                    "the inner width is a multiple of the model's");
    }
  }
  const json* rank = config.find("time_step_rank");
  head.dt_rank =
      rank == nullptr || *rank == "auto" ? (model.d_model + 15) / 16 : config.size("time_step_rank", kMaxRank);
  model.layers.assign(static_cast<std::size_t>(config.size("num_hidden_layers", kMaxLayers)), head);
  return model;
}

TensorRecipes mamba_recipes(const ModelConfig& config) {
  const std::int64_t D = config.d_model, V = config.vocab_size;
  RecipeList list;
  list.same("embed.weight", "backbone.embeddings.weight", {V, D});
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    const auto& head = config.layers[l].get<MixedHeadsConfig>();
    const std::int64_t di = head.expand * D, N = head.d_state, W = head.d_conv, rank = head.dt_rank;
    const std::string layer = "backbone.layers." + std::to_string(l), theirs = layer + ".mixer.";
    const std::string ours = "layers." + std::to_string(l), mamba = ours + ".mixer.mamba.";
    list.same(ours + ".norm1.weight", layer + ".norm.weight", {D});
    list.same(mamba + "in_proj.weight", {1, 2 * di, D}, theirs + "in_proj.weight", {2 * di, D});
    list.same(mamba + "conv.weight", {1, di, W}, theirs + "conv1d.weight", {di, 1, W});
    list.same(mamba + "conv.bias", {1, di}, theirs + "conv1d.bias", {di});
    list.same(mamba + "x_proj.weight", {1, rank + 2 * N, di}, theirs + "x_proj.weight", {rank + 2 * N, di});
    list.same(mamba + "dt_proj.weight", {1, di, rank}, theirs + "dt_proj.weight", {di, rank});
    list.same(mamba + "dt_proj.bias", {1, di}, theirs + "dt_proj.bias", {di});
    list.same(mamba + "A_log", {1, di, N}, theirs + "A_log", {di, N});
    list.same(mamba + "D", {1, di}, theirs + "D", {di});
    list.same(mamba + "out_proj.weight", {1, D, di}, theirs + "out_proj.weight", {D, di});
  }
  list.same("norm.weight", "backbone.norm_f.weight", {D});
  if (!config.tie_embeddings) list.same("head.weight", "lm_head.weight", {V, D});
  return list.take();
}

std::string objection_to_mamba(const ModelConfig& config) {
  if (config.shortcut) return "there must be no shortcut; the last layer has one";
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    const std::string where = "layers[" + std::to_string(l) + "]";
    const auto* head = config.layers[l].get_if<MixedHeadsConfig>();
    if (head == nullptr) {
      return "every layer must be one Mamba head; " + where + " is " + config.layers[l].kind().name;
    }
    if (head->heads != 1 || head->recurrent_groups.size() != 1 || head->o) {
      return "every layer must be mamba(heads=1,o=false); " + where + " has " +
             (head->o && head->heads == 1 ? "a product after its head" : "several heads or other ones");
    }
    if (!(config.layers[l] == config.layers[0]))
      return "every layer must have the sizes of layers[0]; " + where + " has others";
  }
  if (config.norm != Norm::rmsnorm) return "norm must be rmsnorm; it is " + to_string(config.norm);
  if (config.positions != Positions::none) return "positions must be none; they are " + to_string(config.positions);
  if (config.mlp != Mlp::none) return "mlp must be none; it is " + to_string(config.mlp);
  return {};
}

nlohmann::ordered_json write_mamba(const ModelConfig& config) {
  const auto& head = config.layers[0].get<MixedHeadsConfig>();
  nlohmann::ordered_json root;
  root["architectures"] = {"MambaForCausalLM"};
  root["model_type"] = "mamba";
  root["vocab_size"] = config.vocab_size;
  root["hidden_size"] = config.d_model;
  root["intermediate_size"] = head.expand * config.d_model;
  root["expand"] = head.expand;
  root["num_hidden_layers"] = config.layers.size();
  root["state_size"] = head.d_state;
  root["conv_kernel"] = head.d_conv;
  root["time_step_rank"] = head.dt_rank;
  root["hidden_act"] = "silu";
  root["layer_norm_epsilon"] = config.norm_eps;
  root["use_bias"] = false;
  root["use_conv_bias"] = true;
  root["tie_word_embeddings"] = config.tie_embeddings;
  return root;
}

}  // namespace

HuggingFaceModel built_in::mamba_model() {
  return {.type = "mamba",
          .architecture = "MambaForCausalLM",
          .prefix = "backbone.",
          .read = read_mamba,
          .recipes = mamba_recipes,
          .is_buffer = [](std::string_view) { return false; },
          .objection = objection_to_mamba,
          .write = write_mamba};
}

}  // namespace mixgrad
