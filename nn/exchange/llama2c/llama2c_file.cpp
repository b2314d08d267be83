#include "nn/exchange/llama2c/llama2c_file.h"

#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <sstream>

#include "core/error.h"
#include "core/text/suggest.h"
#include "nn/config/kinds/attention.h"

namespace mixgrad {
namespace {

constexpr std::size_t kHeaderBytes = 28;
constexpr double kEps = 1e-5, kTheta = 1e4;
constexpr const char* kNames[] = {"dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len"};

struct Header {
  std::array<std::int32_t, 7> numbers{};
  std::int64_t at(std::size_t i) const { return numbers[i]; }
};

Header header_of(std::string_view content) {
  Header header;
  std::memcpy(header.numbers.data(), content.data(), kHeaderBytes);
  return header;
}

// A tensor of the file as it lies there; the layers' are stored together.
struct Stored {
  std::string name;
  Shape shape;              // of one layer
  std::int64_t layers = 0;  // 0: not of a layer
};

// All tensors in the order of the file.
std::vector<Stored> stored_tensors(const ModelConfig& config) {
  const auto& attention = config.layers[0].get<AttentionConfig>();
  const std::int64_t D = config.d_model, F = config.d_ff, V = config.vocab_size;
  const std::int64_t L = static_cast<std::int64_t>(config.layers.size()), dh = D / attention.heads;
  const std::int64_t K = attention.kv_heads * dh;
  std::vector<Stored> tensors{{"token_embedding_table", {V, D}},
                              {"rms_att_weight", {D}, L},
                              {"wq", {D, D}, L},
                              {"wk", {K, D}, L},
                              {"wv", {K, D}, L},
                              {"wo", {D, D}, L},
                              {"rms_ffn_weight", {D}, L},
                              {"w1", {F, D}, L},
                              {"w2", {D, F}, L},
                              {"w3", {F, D}, L},
                              {"rms_final_weight", {D}},
                              {"freq_cis_real", {config.context, dh / 2}},
                              {"freq_cis_imag", {config.context, dh / 2}}};
  if (!config.tie_embeddings) tensors.push_back({"wcls", {V, D}});
  return tensors;
}

std::string indexed(const std::string& name, std::int64_t layer) { return name + "[" + std::to_string(layer) + "]"; }

// Bytes of the whole file; the sizes are within the limits of model_config.h, so that nothing overflows before the sum
// of doubles says so.
double file_bytes(const ModelConfig& config) {
  double bytes = kHeaderBytes;
  for (const Stored& tensor : stored_tensors(config)) {
    double numbers = 1;
    for (int axis = 0; axis < tensor.shape.rank(); ++axis) numbers *= static_cast<double>(tensor.shape[axis]);
    bytes += 4 * numbers * static_cast<double>(std::max<std::int64_t>(tensor.layers, 1));
  }
  return bytes;
}

ModelConfig config_of(const Header& header, const std::string& path) {
  const std::array<std::int64_t, 7> highest{kMaxWidth, kMaxHidden, kMaxLayers, kMaxHeads,
                                            kMaxHeads, kMaxVocab,  kMaxContext};
  for (std::size_t i = 0; i < highest.size(); ++i) {
    const std::int64_t value = i == 5 ? std::abs(header.at(i)) : header.at(i);
    if (value >= 1 && value <= highest[i]) continue;
    raise<FormatError>(path, ": ", kNames[i], " of a llama2.c checkpoint must be from 1 to ", highest[i], "; found ",
                       header.at(i), "; check that it is the right file");
  }
  ModelConfig config;
  config.vocab_size = std::abs(header.at(5));
  config.context = header.at(6);
  config.d_model = header.at(0);
  config.d_ff = header.at(1);
  config.norm = Norm::rmsnorm;
  config.norm_eps = kEps;
  config.positions = Positions::rope;
  config.rope_theta = kTheta;
  config.mlp = Mlp::swiglu;
  config.bias = false;
  config.tie_embeddings = header.at(5) > 0;
  const AttentionConfig attention{.heads = header.at(3), .kv_heads = header.at(4)};
  config.layers.assign(static_cast<std::size_t>(header.at(2)), attention);
  const std::string broken = first_broken_rule(config);
  if (!broken.empty()) raise<FormatError>(path, ": ", broken, " (of a llama2.c checkpoint)");
  return config;
}

}  // namespace

bool begins_llama2c_model(std::string_view content) {
  if (content.size() < kHeaderBytes) return false;
  const Header header = header_of(content);
  for (std::size_t i = 0; i < header.numbers.size(); ++i) {
    if (i == 5 ? header.at(i) == 0 : header.at(i) < 1) return false;
  }
  return header.at(0) % header.at(3) == 0 && header.at(3) % header.at(4) == 0;
}

bool begins_later_llama2c_model(std::string_view content) { return content.starts_with("24ka"); }

Llama2cFile Llama2cFile::parse(MappedFile mapped) {
  Llama2cFile file;
  file.file_ = std::move(mapped);
  const std::string& path = file.file_.path();
  if (file.file_.size() < kHeaderBytes) {
    raise<FormatError>(path, ": a llama2.c checkpoint has at least ", kHeaderBytes, " bytes; this one has ",
                       file.file_.size(), "; take a whole copy");
  }
  file.config_ = config_of(header_of(file.file_.text()), path);
  const double bytes = file_bytes(file.config_);
  if (bytes != static_cast<double>(file.file_.size())) {
    std::ostringstream needed;
    needed.precision(17);
    needed << bytes;
    raise<FormatError>(path, ": a llama2.c checkpoint of these sizes must have ", needed.str(), " bytes; it has ",
                       file.file_.size(), "; take a whole copy of version 0");
  }
  return file;
}

Tensor Llama2cFile::read(const TheirTensor& part) const {
  std::size_t at = kHeaderBytes;
  for (const Stored& stored : stored_tensors(config_)) {
    const std::size_t bytes = static_cast<std::size_t>(stored.shape.numel()) * sizeof(float);
    for (std::int64_t l = 0; l < std::max<std::int64_t>(stored.layers, 1); ++l, at += bytes) {
      if (part.name != (stored.layers == 0 ? stored.name : indexed(stored.name, l))) continue;
      MIXGRAD_ASSERT(part.shape == stored.shape, "the recipe has the shape of the file");
      const Tensor tensor = Tensor::empty(stored.shape, DType::f32);
      std::memcpy(tensor.raw(), file_.bytes().data() + at, bytes);
      file_.require_whole();
      return tensor;
    }
  }
  raise<ValueError>("llama2.c: a tensor of the checkpoint is required; got ", quote(part.name),
                    "; take one of its recipes");
}

TensorRecipes llama2c_recipes(const ModelConfig& config) {
  const auto& attention = config.layers[0].get<AttentionConfig>();
  const std::int64_t D = config.d_model, F = config.d_ff, V = config.vocab_size, dh = D / attention.heads;
  const std::int64_t K = attention.kv_heads * dh;
  RecipeList list;
  list.same("embed.weight", "token_embedding_table", {V, D});
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    const auto l = static_cast<std::int64_t>(i);
    const std::string layer = "layers." + std::to_string(l);
    list.same(layer + ".norm1.weight", indexed("rms_att_weight", l), {D});
    list.stacked(layer + ".mixer.qkv.weight", D,
                 {{indexed("wq", l), {D, D}, Arrangement::rotary_pairs, dh},
                  {indexed("wk", l), {K, D}, Arrangement::rotary_pairs, dh},
                  {indexed("wv", l), {K, D}}});
    list.same(layer + ".mixer.o.weight", indexed("wo", l), {D, D});
    list.same(layer + ".norm2.weight", indexed("rms_ffn_weight", l), {D});
    list.same(layer + ".mlp.gate.weight", indexed("w1", l), {F, D});
    list.same(layer + ".mlp.up.weight", indexed("w3", l), {F, D});
    list.same(layer + ".mlp.down.weight", indexed("w2", l), {D, F});
  }
  list.same("norm.weight", "rms_final_weight", {D});
  if (!config.tie_embeddings) list.same("head.weight", "wcls", {V, D});
  return list.take();
}

std::string llama2c_objection(const ModelConfig& config) {
  const auto number = [](double value) {
    std::ostringstream text;
    text << value;
    return text.str();
  };
  if (config.norm != Norm::rmsnorm) return "norm must be rmsnorm; it is " + to_string(config.norm);
  if (config.norm_eps != kEps) return "norm_eps must be 1e-05; it is " + number(config.norm_eps);
  if (config.positions != Positions::rope) return "positions must be rope; they are " + to_string(config.positions);
  if (config.rope_theta != kTheta) return "rope_theta must be 10000; it is " + number(config.rope_theta);
  if (config.mlp != Mlp::swiglu) return "mlp must be swiglu; it is " + to_string(config.mlp);
  if (config.bias) return "bias must be false; it is true";
  if (config.shortcut) return "there must be no shortcut; the model has one";
  const auto* first = config.layers[0].get_if<AttentionConfig>();
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    const auto* attention = config.layers[l].get_if<AttentionConfig>();
    const std::string where = "layers[" + std::to_string(l) + "]";
    if (attention == nullptr) return where + " must be attention; it is " + config.layers[l].kind().name;
    if (first->heads != attention->heads || first->kv_heads != attention->kv_heads) {
      return where + " must have the heads of layers[0]; it has others";
    }
    if (attention->window != 0) return where + " must have no window; it has one";
    if (attention->qkv_bias.value_or(false)) return where + " must have no qkv_bias; it has one";
  }
  return {};
}

void write_llama2c(const std::filesystem::path& path, const ModelConfig& config,
                   const std::function<Tensor(const std::string& parameter)>& read) {
  const auto& attention = config.layers[0].get<AttentionConfig>();
  const std::int64_t pairs = config.d_model / attention.heads / 2;
  std::map<std::string, const TensorRecipe*> of_part;
  const TensorRecipes recipes = llama2c_recipes(config);
  for (const TensorRecipe& recipe : recipes) {
    for (const TheirTensor& part : recipe.parts) of_part.emplace(part.name, &recipe);
  }
  const auto write_part = [&](FileWriter& writer, const std::string& name) {
    const TensorRecipe& recipe = *of_part.at(name);
    for (const auto& [part, tensor] : take_apart(recipe, read(recipe.ours).to(DType::f32))) {
      if (part == name) writer.write(tensor.raw(), tensor.bytes());
    }
  };
  const auto write_angles = [&](FileWriter& writer, double (*function)(double)) {
    for (std::int64_t t = 0; t < config.context; ++t) {
      for (std::int64_t i = 0; i < pairs; ++i) {
        const double exponent = -static_cast<double>(i) / static_cast<double>(pairs);
        const auto value = static_cast<float>(function(static_cast<double>(t) * std::pow(config.rope_theta, exponent)));
        writer.write(&value, sizeof value);
      }
    }
  };
  write_file_once(path, [&](FileWriter& writer) {
    for (const std::int64_t number :
         {config.d_model, config.d_ff, static_cast<std::int64_t>(config.layers.size()), attention.heads,
          attention.kv_heads, config.tie_embeddings ? config.vocab_size : -config.vocab_size, config.context}) {
      const auto stored = static_cast<std::int32_t>(number);
      writer.write(&stored, sizeof stored);
    }
    for (const Stored& tensor : stored_tensors(config)) {
      if (tensor.name == "freq_cis_real") {
        write_angles(writer, [](double angle) { return std::cos(angle); });
      } else if (tensor.name == "freq_cis_imag") {
        write_angles(writer, [](double angle) { return std::sin(angle); });
      } else if (tensor.layers == 0) {
        write_part(writer, tensor.name);
      } else {
        for (std::int64_t l = 0; l < tensor.layers; ++l) write_part(writer, indexed(tensor.name, l));
      }
    }
  });
}

}  // namespace mixgrad
