// The description of a kind of mixer, as far as configurations need it; how a mixer is made from it stands beside the
// mixer (nn/mixers/mixer_kinds.h). nn/config/mixer_kinds.def lists the built-in kinds; a program that uses the library
// adds its own with register_mixer_kind. nn/README.md shows every step.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "nn/config/model_config.h"
#include "nn/config/patterns/pattern_item.h"

namespace mixgrad {

// The values of the command line that an item of --mixer falls back on.
struct PatternDefaults {
  std::int64_t layers = 1;
  std::int64_t heads = 1;
  std::int64_t kv_heads = 0;  // 0: as many as the layer has heads
  std::int64_t context = 1;   // tokens; the period of a schedule of shifts follows it
  std::int64_t d_model = 1;   // the model's width, for sizes that follow it
  bool bias = false;          // the model's bias, of which a layer's own may differ
};

// The layer for which an item of --mixer is expanded: the index-th of the `count` layers of its kind.
struct PatternLayer {
  std::int64_t index = 0;
  std::int64_t count = 1;
};

// One name that --mixer knows. A kind may have several: `recurformer`, `mamba` and `mixed` are one kind of mixer.
struct MixerPattern {
  std::string name;     // "recurformer"
  std::string example;  // for help and documentation: "recurformer(fraction=0.5)"
  // ValueError for an option that is unknown or outside its range. Called once for each layer.
  std::function<LayerConfig(const PatternItem& item, const PatternDefaults& defaults, const PatternLayer& layer)>
      expand = {};
};

// A layer on which the laws of mixers are run (nn/mixers/laws/mixer_laws.h).
struct LayerForm {
  LayerConfig layer;
  Positions positions = Positions::none;
};

struct LayerKind {
  std::string name;                    // under "mixer" in config.json
  std::optional<LayerConfig> values;   // of the kind, at their defaults: config.json is read into a copy of them
  std::vector<MixerPattern> patterns;  // at least one
  // Layers of a model of width 8, 12 or 16 that show every choice of the kind, for sequences of `length` tokens: sizes
  // that matter (a shift, a window) stand below, at and above it.
  std::function<std::vector<LayerForm>(std::int64_t length)> forms;
};

}  // namespace mixgrad
