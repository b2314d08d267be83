// The --mixer option: which mixer each layer has.
//
//   pattern = item {"," item}, repeated cyclically over the layers;   item = name ["(" key=value {"," key=value} ")"]
//   attention                                attention(heads=4,kv_heads=2)
//   hsm:scalar                               hsm:vector(heads=4,proj=vo,boundary=self,shifts=1|2|4|8)
//   recurformer(fraction=0.5)                mixed(softmax=2,mamba=1,shift=1,shifts=4)
//
// The names, options and defaults are those of the kinds of mixers: nn/config/kinds/NAME.h states each.
#pragma once

#include <string_view>
#include <vector>

#include "nn/config/layer_kind.h"

namespace mixgrad {

// One LayerConfig per layer. ValueError: not a pattern, an unknown name (with the nearest right one and the list), a
// value outside its range. Whether heads divide the width is checked by validate().
std::vector<LayerConfig> expand_mixer_pattern(std::string_view pattern, const PatternDefaults& defaults);

}  // namespace mixgrad
