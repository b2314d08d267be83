// Every form of mixer, and decoders in which every choice of a model meets every other: what the laws are run on.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/rng.h"
#include "nn/config/kinds/attention.h"
#include "nn/config/kinds/hsm.h"
#include "nn/config/kinds/mixed_heads.h"
#include "nn/config/patterns/mixer_pattern.h"
#include "nn/config/patterns/shortcut_pattern.h"
#include "nn/config/shift_schedule.h"
#include "nn/mixers/attention_mixer.h"
#include "nn/mixers/hsm_mixer.h"
#include "nn/mixers/laws/mixer_laws.h"
#include "nn/mixers/mixed_heads_mixer.h"
#include "nn/model/decoder.h"
#include "tests/support/device.h"

namespace mixgrad::test {

inline constexpr std::int64_t kWidth = kLawWidth;  // D of every mixer and decoder here
inline constexpr std::int64_t kContext = kLawContext;
inline constexpr std::int64_t kVocabulary = 11;  // V of the decoders

inline Tensor normal_tensor(const Shape& shape, DType dtype, std::uint64_t seed, double deviation = 1) {
  return law_numbers(shape, dtype, seed, deviation);
}

inline Tensor token_tensor(std::int64_t batch, std::int64_t steps, std::int64_t bound, std::uint64_t seed) {
  Rng rng(seed);
  const Tensor tokens = Tensor::empty({batch, steps}, DType::i32);
  for (std::int64_t i = 0; i < tokens.numel(); ++i) {
    tokens.set(i, static_cast<double>(rng.below(static_cast<std::uint64_t>(bound))));
  }
  return tokens;
}

// A layer of some kind, with the positions of its model.
struct MixerForm : LayerForm {
  std::string name() const { return to_text(layer) + (positions == Positions::rope ? " rope" : ""); }
};

// The sample layers of one kind, for sequences of this length.
inline std::vector<MixerForm> forms_of(const LayerKind& kind, std::int64_t length) {
  std::vector<MixerForm> forms;
  for (const LayerForm& form : kind.forms(length)) forms.push_back({form});
  return forms;
}

inline std::vector<HsmVariant> hsm_variants() {
  std::vector<HsmVariant> variants;
  for (std::size_t i = 0; i < enum_names<HsmVariant>().size(); ++i) variants.push_back(static_cast<HsmVariant>(i));
  return variants;
}

inline HsmConfig hsm_layer(HsmVariant variant, const std::vector<std::int64_t>& shifts,
                           HsmProjection proj = HsmProjection::none, Boundary boundary = Boundary::zero) {
  HsmConfig layer{variant, static_cast<std::int64_t>(shifts.size()), shifts, proj, boundary};
  layer.options.assign(hsm_variant(variant).options.size(), 3);
  return layer;
}

// Those of all kinds.
inline std::vector<MixerForm> mixer_forms(std::int64_t length) {
  std::vector<MixerForm> forms;
  for (const LayerKind* kind : layer_kinds()) {
    for (MixerForm& form : forms_of(*kind, length)) forms.push_back(std::move(form));
  }
  return forms;
}

// A mixer on its own, with its parameters, on the device under test.
struct OwnMixer : LawMixer {
  OwnMixer(const LayerForm& form, DType dtype, std::int64_t width = kWidth, std::int64_t context = kContext)
      : LawMixer(form, {dtype, test_device()}, width, context) {}
};

struct DecoderForm {
  std::string name;
  ModelConfig config;
};

// What --mixer takes, and behind ";" what --shortcut takes. A pattern of some kind that is not among the chosen ones is
// added with its example.
inline std::vector<std::string> decoder_patterns() {
  std::vector<std::string> patterns{
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
      "attention(window=3),attention(window=40,kv_heads=2,qkv_bias=true),attention(window=1)",
      "recurformer(groups=1,window_groups=0|2,window=5,d_state=2),mixed(windowed=2,softmax=2,window=2,o=false)",
      "mamba(heads=1,o=false,d_state=3),attention",
  };
  const std::size_t chosen = patterns.size();
  for (const LayerKind* kind : layer_kinds()) {
    for (const MixerPattern& pattern : kind->patterns) {
      const auto has = [&](const std::string& text) { return text.find(pattern.name) != std::string::npos; };
      if (std::any_of(patterns.begin(), patterns.begin() + static_cast<std::ptrdiff_t>(chosen), has)) continue;
      patterns.push_back(pattern.example + ",attention");
    }
  }
  return patterns;
}

inline ModelConfig decoder_config(const std::string& whole_pattern, Positions positions, Norm norm, Mlp mlp, bool tie,
                                  bool bias) {
  ModelConfig config;
  config.vocab_size = kVocabulary;
  config.context = kContext;
  config.d_model = kWidth;
  config.d_ff = mlp == Mlp::none ? 0 : 20;
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
  config.layers = expand_mixer_pattern(
      pattern, {.layers = layers, .heads = 4, .context = kContext, .d_model = kWidth, .bias = bias});
  return config;
}

// Six decoders of each pattern, with each kind of position twice; the other choices go round at their own pace, so that
// any two values of any two choices occur together (decoder_laws_test.cpp checks it).
inline std::vector<DecoderForm> decoder_forms() {
  std::vector<DecoderForm> forms;
  const std::vector<std::string> patterns = decoder_patterns();
  for (std::size_t n = 0; n < 6 * patterns.size(); ++n) {
    const auto positions = static_cast<Positions>(n % 3);
    const auto mlp = static_cast<Mlp>(n % enum_names<Mlp>().size());
    const auto norm = static_cast<Norm>(n / 3 % 2);
    const bool tie = n / 5 % 2 == 0;
    const bool bias = n / 4 % 2 == 0;
    DecoderForm form{patterns[n / 6], decoder_config(patterns[n / 6], positions, norm, mlp, tie, bias)};
    form.name += std::string(" ") + to_string(positions) + " " + to_string(norm) + " " + to_string(mlp) +
                 (tie ? " tied" : " untied") + (bias ? " bias" : " no bias");
    forms.push_back(std::move(form));
  }
  return forms;
}

inline std::unique_ptr<Decoder> make_decoder(const ModelConfig& config, DType dtype, std::uint64_t seed = 3) {
  auto decoder = std::make_unique<Decoder>(config, Placement(dtype, test_device()));
  fill_law_parameters(decoder->parameters(), seed);
  return decoder;
}

}  // namespace mixgrad::test
