// What a model is made of: config.json beside model.safetensors, or the `config` metadata of a conformance file.
// The fields and the stored form are those of the model description; docs say what each choice computes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ops/shift_mix/shift_mix.h"

namespace mixgrad {

enum class Norm : std::uint8_t { layernorm, rmsnorm };
enum class Positions : std::uint8_t { learned, rope, none };
enum class Mlp : std::uint8_t { gelu, gelu_erf, relu, swiglu };  // gelu: the tanh form
enum class HsmVariant : std::uint8_t { scalar, vector };
enum class HsmProjection : std::uint8_t { none, v, o, vo };  // a linear before and / or after the mixing

// The names of an enumeration in the order of its values. Defined for the five above and Boundary.
template <class E>
const std::vector<std::string>& enum_names();
template <class E>
const std::string& to_string(E value) {
  return enum_names<E>().at(static_cast<std::size_t>(value));
}
// ValueError "WHAT must be one of a, b, c; got "x"; did you mean ...?".
template <class E>
E parse_enum(std::string_view name, std::string_view what);

struct AttentionConfig {
  std::int64_t heads = 1;     // divides d_model
  std::int64_t kv_heads = 1;  // divides heads
  friend bool operator==(const AttentionConfig&, const AttentionConfig&) = default;
};

struct HsmConfig {
  HsmVariant variant = HsmVariant::scalar;
  std::int64_t heads = 1;              // divides d_model
  std::vector<std::int64_t> shifts{};  // tokens, one per head
  HsmProjection proj = HsmProjection::none;
  Boundary boundary = Boundary::zero;
  friend bool operator==(const HsmConfig&, const HsmConfig&) = default;
};

using LayerConfig = std::variant<AttentionConfig, HsmConfig>;

struct ModelConfig {
  std::int64_t vocab_size = 0;  // V
  std::int64_t context = 0;     // tokens
  std::int64_t d_model = 0;     // D
  std::int64_t d_ff = 0;        // hidden units of the MLP
  Norm norm = Norm::layernorm;
  double norm_eps = 1e-5;
  Positions positions = Positions::learned;
  double rope_theta = 1e4;
  Mlp mlp = Mlp::gelu;
  bool bias = true;
  bool tie_embeddings = true;
  std::vector<LayerConfig> layers{};
  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

// Upper limits: far above what this library is for, and small enough that no product of them overflows 64 bits.
inline constexpr std::int64_t kMaxVocab = std::int64_t{1} << 24;
inline constexpr std::int64_t kMaxContext = std::int64_t{1} << 24;  // also of a shift
inline constexpr std::int64_t kMaxWidth = std::int64_t{1} << 16;    // d_model
inline constexpr std::int64_t kMaxHidden = std::int64_t{1} << 20;   // d_ff
inline constexpr std::int64_t kMaxHeads = 4096;
inline constexpr std::int64_t kMaxLayers = 1024;

// ValueError, beginning with `what`, for sizes outside their range or that do not fit together.
void validate(const ModelConfig& config, std::string_view what = "model");

// The stored form, read strictly: all keys, no others. `source` is the file's name for errors. FormatError names the
// key's path (layers[2].shifts[0]), what is allowed and what was found. The result is validated.
ModelConfig parse_model_config(std::string_view text, const std::string& source);

// The stored form: all keys in the order above, `shortcut` null, two spaces a level, a final newline.
std::string to_json(const ModelConfig& config);

// What this version has under "mixer", and the names known to it that it has not.
const std::vector<std::string>& mixer_names();
const std::vector<std::string>& future_mixer_names();
const std::vector<std::string>& future_hsm_variant_names();

}  // namespace mixgrad
