// What a model is made of: config.json beside model.safetensors, or the `config` metadata of a conformance file.
// The fields and the stored form are those of the model description; docs say what each choice computes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ops/shift/shift.h"

namespace mixgrad {

enum class Norm : std::uint8_t { layernorm, rmsnorm };
enum class Positions : std::uint8_t { learned, rope, none };
enum class Mlp : std::uint8_t { gelu, gelu_erf, relu, swiglu };  // gelu: the tanh form
enum class HsmVariant : std::uint8_t {                           // nn/mixers/hsm_mixing.h
#define HSM_VARIANT(name, class) name,
#include "nn/config/hsm_variants.def"
#undef HSM_VARIANT
};
enum class HsmProjection : std::uint8_t { none, v, o, vo };  // a linear before and / or after the mixing
enum class ShortcutConcat : std::uint8_t { sequence, feature, depth };

// The names of an enumeration in the order of its values.
template <class E>
const std::vector<std::string>& enum_names();
template <>
const std::vector<std::string>& enum_names<Norm>();
template <>
const std::vector<std::string>& enum_names<Positions>();
template <>
const std::vector<std::string>& enum_names<Mlp>();
template <>
const std::vector<std::string>& enum_names<HsmVariant>();
template <>
const std::vector<std::string>& enum_names<HsmProjection>();
template <>
const std::vector<std::string>& enum_names<ShortcutConcat>();
template <>
const std::vector<std::string>& enum_names<Boundary>();
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
  std::int64_t hidden = 0;  // units per head of the fusion variant; 0, and not stored, for the others
  friend bool operator==(const HsmConfig&, const HsmConfig&) = default;
};

// Softmax, Mamba and shift heads side by side. A key/value group takes all its heads / kv_heads query heads with it; a
// group in neither list is softmax attention.
struct RecurformerConfig {
  std::int64_t heads = 1;                        // divides d_model
  std::int64_t kv_heads = 1;                     // divides heads
  std::vector<std::int64_t> recurrent_groups{};  // of Mamba heads; ascending
  std::int64_t d_state = 16;                     // values of the scan state per channel
  std::int64_t d_conv = 4;                       // width of the causal convolution, tokens
  std::int64_t expand = 2;                       // inner channels of a Mamba head per channel of the head
  std::int64_t dt_rank = 1;                      // rank of the projection to the step sizes
  std::vector<std::int64_t> shift_groups{};      // of shift heads; ascending, disjoint from recurrent_groups
  std::vector<std::int64_t> shifts{};            // tokens, one per shift head in ascending head order
  friend bool operator==(const RecurformerConfig&, const RecurformerConfig&) = default;

  std::int64_t heads_per_group() const { return heads / kv_heads; }
  std::int64_t softmax_groups() const {
    return kv_heads - static_cast<std::int64_t>(recurrent_groups.size() + shift_groups.size());
  }
};

using LayerConfig = std::variant<AttentionConfig, HsmConfig, RecurformerConfig>;

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
  std::int64_t d_ff = 0;        // hidden units of the MLP
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
inline constexpr std::int64_t kMaxState = 1024;    // d_state
inline constexpr std::int64_t kMaxConv = 64;       // d_conv
inline constexpr std::int64_t kMaxExpand = 64;     // expand
inline constexpr std::int64_t kMaxRank = 1 << 16;  // dt_rank

// The first rule between the numbers that is broken, as "what is required; what came; what to do"; empty when all hold.
std::string first_broken_rule(const ModelConfig& config);

// ValueError, beginning with `what`, for sizes outside their range or that do not fit together.
void validate(const ModelConfig& config, std::string_view what = "model");

// The stored form, read strictly: all keys, no others. `source` is the file's name for errors. FormatError names the
// key's path (layers[2].shifts[0]), what is allowed and what was found. The result is validated.
ModelConfig parse_model_config(std::string_view text, const std::string& source);

// The stored form: all keys in the order above, two spaces a level, a final newline.
std::string to_json(const ModelConfig& config);

// What may stand under "mixer", in the order of LayerConfig.
const std::vector<std::string>& mixer_names();

}  // namespace mixgrad
