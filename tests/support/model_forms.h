// Every form of mixer, and decoders in which every choice of a model meets every other: what the laws are run on.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/rng.h"
#include "nn/config/mixer_pattern.h"
#include "nn/config/shift_schedule.h"
#include "nn/config/shortcut_pattern.h"
#include "nn/mixers/attention_mixer.h"
#include "nn/mixers/hsm_mixer.h"
#include "nn/mixers/recurformer_mixer.h"
#include "nn/model/decoder.h"
#include "tests/support/device.h"

namespace mixgrad::test {

inline constexpr std::int64_t kWidth = 16;       // D of every mixer and decoder here
inline constexpr std::int64_t kContext = 40;     // more than the longest sequence of most laws
inline constexpr std::int64_t kVocabulary = 11;  // V of the decoders

// Normal numbers, drawn in f64: the f32 ones are the same, rounded.
inline Tensor normal_tensor(const Shape& shape, DType dtype, std::uint64_t seed, double deviation = 1) {
  const Tensor tensor = Tensor::empty(shape, dtype);
  Rng rng(seed);
  rng.fill_normal(tensor, 0, deviation);
  return tensor;
}

inline Tensor token_tensor(std::int64_t batch, std::int64_t steps, std::int64_t bound, std::uint64_t seed) {
  Rng rng(seed);
  const Tensor tokens = Tensor::empty({batch, steps}, DType::i32);
  for (std::int64_t i = 0; i < tokens.numel(); ++i) {
    tokens.set(i, static_cast<double>(rng.below(static_cast<std::uint64_t>(bound))));
  }
  return tokens;
}

// Values among which no parameter is without effect: biases are not zero, a and b differ from channel to channel.
inline void fill_parameters(ParameterSet& parameters, std::uint64_t seed) {
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    Rng rng(seed, static_cast<std::uint64_t>(i) << 32U);
    // Seven products one after another in a Mamba head: smaller values would leave gradients to the noise of
    // differences.
    const bool mamba = parameter.name.find(".mamba.") != std::string::npos;
    const Tensor drawn = Tensor::empty(parameter.shape, parameters.dtype());  // on the host, as are all draws
    rng.fill_normal(drawn, 0, mamba ? 0.7 : 0.3);
    const bool norm_weight = parameter.init.kind == Init::Kind::constant && parameter.init.value == 1;
    for (std::int64_t e = 0; norm_weight && e < drawn.numel(); ++e) drawn.set(e, 1 + drawn.at(e));
    parameter.value.copy_from(drawn);
  }
}

inline std::string to_text(const LayerConfig& layer) {
  if (const auto* attention = std::get_if<AttentionConfig>(&layer)) {
    return "attention(heads=" + std::to_string(attention->heads) + ",kv_heads=" + std::to_string(attention->kv_heads) +
           ")";
  }
  if (const auto* mixed = std::get_if<RecurformerConfig>(&layer)) {
    std::string text = "recurformer(heads=" + std::to_string(mixed->heads) + "/" + std::to_string(mixed->kv_heads);
    for (const std::int64_t group : mixed->recurrent_groups) text += " mamba " + std::to_string(group);
    for (const std::int64_t group : mixed->shift_groups) text += " shift " + std::to_string(group);
    for (const std::int64_t shift : mixed->shifts) text += " s=" + std::to_string(shift);
    return text + " conv " + std::to_string(mixed->d_conv) + ")";
  }
  const auto& hsm = std::get<HsmConfig>(layer);
  std::string shifts;
  for (const std::int64_t shift : hsm.shifts) shifts += (shifts.empty() ? "" : "|") + std::to_string(shift);
  return "hsm:" + to_string(hsm.variant) + "(heads=" + std::to_string(hsm.heads) + ",shifts=" + shifts +
         ",proj=" + to_string(hsm.proj) + ",boundary=" + to_string(hsm.boundary) +
         (hsm.hidden > 0 ? ",hidden=" + std::to_string(hsm.hidden) : "") + ")";
}

// Values that a token's state has in this layer, for one sequence of at most max_tokens: as the documentation says.
inline std::int64_t documented_state(const LayerConfig& layer, std::int64_t width, std::int64_t context,
                                     std::int64_t max_tokens) {
  if (const auto* attention = std::get_if<AttentionConfig>(&layer)) {
    return 2 * std::min(context, max_tokens) * attention->kv_heads * (width / attention->heads);
  }
  if (const auto* mixed = std::get_if<RecurformerConfig>(&layer)) {
    const std::int64_t dh = width / mixed->heads;
    const auto groups = static_cast<std::int64_t>(mixed->recurrent_groups.size());
    const std::int64_t inner = groups * mixed->heads_per_group() * mixed->expand * dh;
    std::int64_t values = 2 * std::min(context, max_tokens) * mixed->softmax_groups() * dh;
    values += inner * (mixed->d_state + mixed->d_conv - 1);
    for (const std::int64_t shift : mixed->shifts) values += shift * dh;
    return values;
  }
  const auto& hsm = std::get<HsmConfig>(layer);
  std::int64_t values = 0;
  for (const std::int64_t shift : hsm.shifts) values += shift * (width / hsm.heads);
  return values;
}

// The same of the layer that a shortcut makes of the last one: a row of keys and values per token and source.
inline std::int64_t documented_state(const ShortcutConfig& shortcut, const LayerConfig& last, std::int64_t width,
                                     std::int64_t context, std::int64_t max_tokens) {
  const std::int64_t rows = shortcut.concat == ShortcutConcat::depth ? 0
                            : shortcut.concat == ShortcutConcat::feature
                                ? 1
                                : static_cast<std::int64_t>(shortcut.sources.size());
  return rows * documented_state(last, width, context, max_tokens);
}

struct MixerForm {
  LayerConfig layer;
  Positions positions = Positions::none;

  std::string name() const { return to_text(layer) + (positions == Positions::rope ? " rope" : ""); }
};

inline std::vector<MixerForm> attention_forms() {
  std::vector<MixerForm> forms;
  for (const Positions positions : {Positions::none, Positions::rope}) {
    for (const auto& [heads, kv_heads] : {std::pair{1, 1}, std::pair{4, 4}, std::pair{4, 2}, std::pair{4, 1}}) {
      forms.push_back({AttentionConfig{heads, kv_heads}, positions});
    }
  }
  return forms;
}

// All there are, the ones that a user adds among them.
inline std::vector<HsmVariant> hsm_variants() {
  std::vector<HsmVariant> variants;
  for (std::size_t i = 0; i < enum_names<HsmVariant>().size(); ++i) variants.push_back(static_cast<HsmVariant>(i));
  return variants;
}

inline HsmConfig hsm_layer(HsmVariant variant, const std::vector<std::int64_t>& shifts,
                           HsmProjection proj = HsmProjection::none, Boundary boundary = Boundary::zero) {
  const auto heads = static_cast<std::int64_t>(shifts.size());
  return {variant, heads, shifts, proj, boundary, variant == HsmVariant::fusion ? 3 : 0};
}

// The shifts stand around the length: within it, at its end, just beyond, and far beyond. The projections are the same
// code for all variants: all four with a and b, none and both with the others.
inline std::vector<MixerForm> hsm_forms(std::int64_t length) {
  using enum HsmProjection;
  const std::vector<std::int64_t> shifts{1, 2, std::max<std::int64_t>(1, length - 1), length, length + 1, 64};
  std::vector<MixerForm> forms;
  for (const HsmVariant variant : hsm_variants()) {
    const bool coefficients = variant == HsmVariant::scalar || variant == HsmVariant::vector;
    const std::vector<HsmProjection> projections = coefficients ? std::vector{none, v, o, vo} : std::vector{none, vo};
    for (const HsmProjection proj : projections) {
      for (const Boundary boundary : {Boundary::zero, Boundary::self}) {
        for (std::size_t first = 0; first < shifts.size(); ++first) {
          std::vector<std::int64_t> four;
          for (std::size_t h = 0; h < 4; ++h) four.push_back(shifts[(first + h) % shifts.size()]);
          forms.push_back({hsm_layer(variant, {shifts[first]}, proj, boundary)});
          forms.push_back({hsm_layer(variant, four, proj, boundary)});
        }
      }
    }
  }
  return forms;
}

// Splits of four heads and of four heads in two groups over softmax, Mamba and shift; shifts around the length.
inline std::vector<MixerForm> recurformer_forms(std::int64_t length) {
  using Groups = std::vector<std::int64_t>;
  struct Split {
    std::int64_t kv_heads;
    Groups recurrent, shifted;
  };
  const std::vector<Split> splits{{4, {}, {}},  {4, {1}, {}},          {4, {0, 2, 3}, {}}, {4, {0, 1, 2, 3}, {}},
                                  {4, {}, {3}}, {4, {}, {0, 1, 2, 3}}, {4, {2}, {0, 1}},   {4, {0, 3}, {1, 2}},
                                  {2, {0}, {}}, {2, {1}, {0}},         {2, {}, {0}},       {1, {0}, {}}};
  const Groups shifts{1, std::max<std::int64_t>(1, length - 1), length, length + 1};
  std::vector<MixerForm> forms;
  for (std::size_t i = 0; i < splits.size(); ++i) {
    const Split& split = splits[i];
    RecurformerConfig layer{.heads = 4, .kv_heads = split.kv_heads, .recurrent_groups = split.recurrent};
    layer.d_state = 3;
    layer.d_conv = std::vector<std::int64_t>{4, 1, 2, 7}[i % 4];
    layer.expand = i % 3 == 0 ? 2 : 1;
    layer.dt_rank = i % 2 == 0 ? 1 : 2;
    layer.shift_groups = split.shifted;
    const std::size_t shift_heads = split.shifted.size() * static_cast<std::size_t>(layer.heads_per_group());
    for (std::size_t s = 0; s < shift_heads; ++s) layer.shifts.push_back(shifts[(s + i) % shifts.size()]);
    forms.push_back({layer, i % 2 == 0 ? Positions::none : Positions::rope});
  }
  return forms;
}

inline std::vector<MixerForm> mixer_forms(std::int64_t length) {
  std::vector<MixerForm> forms = attention_forms();
  for (MixerForm& form : recurformer_forms(length)) forms.push_back(std::move(form));
  for (MixerForm& form : hsm_forms(length)) forms.push_back(std::move(form));
  return forms;
}

// A mixer on its own, with its parameters.
struct OwnMixer {
  ParameterSet parameters;
  std::unique_ptr<Mixer> mixer;

  OwnMixer(const MixerForm& form, DType dtype, std::int64_t width = kWidth, std::int64_t context = kContext) {
    ModelConfig config;
    config.d_model = width;
    config.context = context;
    config.positions = form.positions;
    if (const auto* mixed = std::get_if<RecurformerConfig>(&form.layer)) {
      mixer = std::make_unique<RecurformerMixer>(parameters, "m", config, *mixed, 0.02);
    } else if (const auto* attention = std::get_if<AttentionConfig>(&form.layer)) {
      mixer = std::make_unique<AttentionMixer>(parameters, "m", config, *attention, 0.02);
    } else {
      mixer = std::make_unique<HsmMixer>(parameters, "m", config, std::get<HsmConfig>(form.layer), 0.02, 0.05);
    }
    parameters.allocate(dtype, test_device());
    fill_parameters(parameters, 5);
  }
};

struct DecoderForm {
  std::string name;
  ModelConfig config;
};

// What --mixer takes, and behind ";" what --shortcut takes.
inline const std::vector<std::string>& decoder_patterns() {
  static const std::vector<std::string> patterns{
      "attention",
      "attention(kv_heads=2),attention(kv_heads=1)",
      "hsm:scalar",
      "hsm:vector(heads=4,proj=vo,boundary=self,shifts=1|3|17|64)",
      "hsm:scalar(heads=4),attention",
      "attention(heads=2),hsm:vector",
      "hsm:scalar(proj=v),hsm:vector(proj=o,boundary=self),attention(kv_heads=2)",
      "hsm:matrix(heads=2),hsm:gate_single(boundary=self)",
      "recurformer(fraction=0.5,d_state=3,d_conv=3),mamba(expand=1,heads=2,d_state=2)",
      "mixed(softmax=1,mamba=1,shift=2,d_state=2),attention",
      "hsm:gate_double(heads=4,proj=o),attention,hsm:fusion(heads=2,hidden=5,schedule=reversed)",
      "attention(kv_heads=2),attention(kv_heads=1);0,1(hidden=5)",
      "hsm:scalar,attention;0,1(hidden=6,concat=feature)",
      "hsm:vector(heads=4),attention,attention(kv_heads=2);0,2(hidden=5,concat=depth)",
  };
  return patterns;
}

inline ModelConfig decoder_config(const std::string& whole_pattern, Positions positions, Norm norm, Mlp mlp, bool tie,
                                  bool bias) {
  ModelConfig config;
  config.vocab_size = kVocabulary;
  config.context = kContext;
  config.d_model = kWidth;
  config.d_ff = 20;
  config.norm = norm;
  config.positions = positions;
  config.mlp = mlp;
  config.bias = bias;
  config.tie_embeddings = tie;
  const std::size_t cut = whole_pattern.find(';');
  const std::string pattern = whole_pattern.substr(0, cut);
  if (cut != std::string::npos) config.shortcut = parse_shortcut_pattern(whole_pattern.substr(cut + 1));
  std::int64_t layers = 1;  // at least two, and each item once
  int depth = 0;
  for (const char c : pattern) {
    depth += c == '(' ? 1 : c == ')' ? -1 : 0;
    layers += c == ',' && depth == 0 ? 1 : 0;
  }
  layers = std::max<std::int64_t>(2, layers);
  config.layers = expand_mixer_pattern(pattern, {.layers = layers, .heads = 4, .context = kContext, .d_model = kWidth});
  return config;
}

// Six decoders of each pattern, with each kind of position twice; the other choices go round at their own pace, so that
// any two values of any two choices occur together (decoder_laws_test.cpp checks it).
inline std::vector<DecoderForm> decoder_forms() {
  std::vector<DecoderForm> forms;
  for (std::size_t n = 0; n < 6 * decoder_patterns().size(); ++n) {
    const auto positions = static_cast<Positions>(n % 3);
    const auto mlp = static_cast<Mlp>(n % 4);
    const auto norm = static_cast<Norm>(n / 3 % 2);
    const bool tie = n / 5 % 2 == 0;
    const bool bias = n / 4 % 2 == 0;
    DecoderForm form{decoder_patterns()[n / 6],
                     decoder_config(decoder_patterns()[n / 6], positions, norm, mlp, tie, bias)};
    form.name += std::string(" ") + to_string(positions) + " " + to_string(norm) + " " + to_string(mlp) +
                 (tie ? " tied" : " untied") + (bias ? " bias" : " no bias");
    forms.push_back(std::move(form));
  }
  return forms;
}

inline std::unique_ptr<Decoder> make_decoder(const ModelConfig& config, DType dtype, std::uint64_t seed = 3) {
  auto decoder = std::make_unique<Decoder>(config, Placement(dtype, test_device()));
  fill_parameters(decoder->parameters(), seed);
  return decoder;
}

}  // namespace mixgrad::test
