// How the mixer of a layer is made, whatever its kind.
//   const auto mixer = make_mixer(config.layers[l], {parameters, "layers.3.mixer", config, out_deviation});
// A program that uses the library adds a kind of its own before it parses a configuration that names it:
//   static const MixerKind ema{.layer = &EmaConfig::kind(), .make = make_ema_mixer};
//   register_mixer_kind(ema);
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "nn/config/layer_kind.h"
#include "nn/mixers/mixer.h"
#include "nn/modules/parameter.h"

namespace mixgrad {

// What a mixer is made from, besides the LayerConfig of its layer.
struct MixerSetup {
  ParameterSet& parameters;   // where it asks for its parameters, in its constructor
  std::string prefix;         // of their names: "layers.3.mixer", without a dot at the end
  const ModelConfig& config;  // of the model
  double out_deviation;       // at the start, of the matrix whose output is added to the residual stream
};

using MakeMixer = std::function<std::unique_ptr<Mixer>(const LayerConfig& layer, const MixerSetup& setup)>;

struct MixerKind {
  const LayerKind* layer = nullptr;  // its description for configurations; must live as long as the program
  MakeMixer make = {};
};

// ValueError when a part is missing, which it names, or when the name of the kind or of one of its patterns is taken.
void register_mixer_kind(const MixerKind& kind);

std::unique_ptr<Mixer> make_mixer(const LayerConfig& layer, const MixerSetup& setup);

// How the built-in kinds are made, each defined in nn/mixers/NAME_mixer.cpp.
#define MIXER_KIND(name) std::unique_ptr<Mixer> make_##name##_mixer(const LayerConfig& layer, const MixerSetup& setup);
#include "nn/config/mixer_kinds.def"
#undef MIXER_KIND

}  // namespace mixgrad
