// The configuration of a model: config.json beside model.safetensors, or the `config` metadata of a conformance file.
// docs/mixers/ says what each choice computes; a layer's mixer is one of the kinds in nn/config/kinds/.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nn/config/enum_names.h"
#include "nn/config/layer_config.h"

namespace mixgrad {

enum class Norm : std::uint8_t { layernorm, rmsnorm };
enum class Positions : std::uint8_t { learned, rope, none };
// gelu: the tanh form. none: layers have neither norm2 nor an MLP, and d_ff is 0.
enum class Mlp : std::uint8_t { gelu, gelu_erf, relu, swiglu, none };
enum class ShortcutConcat : std::uint8_t { sequence, feature, depth };

template <>
const std::vector<std::string>& enum_names<Norm>();
template <>
const std::vector<std::string>& enum_names<Positions>();
template <>
const std::vector<std::string>& enum_names<Mlp>();
template <>
const std::vector<std::string>& enum_names<ShortcutConcat>();

// The last layer attends over earlier hidden states: h^0 is the embedding's output, h^l that of the l-th layer.
struct ShortcutConfig {
  std::vector<std::int64_t> sources{};  // from 0 to layers - 1, ascending
  std::int64_t hidden = 1024;           // units of each source's MLP
  ShortcutConcat concat = ShortcutConcat::sequence;
  friend bool operator==(const ShortcutConfig&, const ShortcutConfig&) = default;
};

struct ModelConfig {
  std::int64_t vocab_size = 0;  // V
  std::int64_t context = 0;     // tokens
  std::int64_t d_model = 0;     // D
  std::int64_t d_ff = 0;        // hidden units of the MLP; 0 without one
  Norm norm = Norm::layernorm;
  double norm_eps = 1e-5;
  Positions positions = Positions::learned;
  double rope_theta = 1e4;
  Mlp mlp = Mlp::gelu;
  bool bias = true;
  bool tie_embeddings = true;
  std::vector<LayerConfig> layers{};
  std::optional<ShortcutConfig> shortcut{};  // then the last layer must be attention
  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

// Upper limits: far above what this library is for, and small enough that no product of them overflows 64 bits.
inline constexpr std::int64_t kMaxVocab = std::int64_t{1} << 24;
inline constexpr std::int64_t kMaxContext = std::int64_t{1} << 24;  // also of a shift
inline constexpr std::int64_t kMaxWidth = std::int64_t{1} << 16;    // d_model
inline constexpr std::int64_t kMaxHidden = std::int64_t{1} << 20;   // d_ff and other hidden units
inline constexpr std::int64_t kMaxHeads = 4096;
inline constexpr std::int64_t kMaxLayers = 1024;

// The first rule between the numbers that is broken, as "what is required; what came; what to do"; empty when all hold.
std::string first_broken_rule(const ModelConfig& config);

// ValueError, beginning with `what`, for sizes outside their range or that do not fit together.
void validate(const ModelConfig& config, std::string_view what = "model");

// The stored form, read strictly: all keys but the optional ones of layers, no others. `source` is the file's name for
// errors. FormatError names the key's path (layers[2].shifts[0]), what is allowed and what was found. The result is
// validated.
ModelConfig parse_model_config(std::string_view text, const std::string& source);

// The stored form: all keys in the order above, of the optional ones those that say something, two spaces a level, a
// final newline.
std::string to_json(const ModelConfig& config);

}  // namespace mixgrad
