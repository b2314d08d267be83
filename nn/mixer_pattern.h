// The --mixer option: which mixer each layer has.
//
//   pattern = item {"," item}, repeated cyclically over the layers;   item = name ["(" key=value {"," key=value} ")"]
//   attention                                attention(heads=4,kv_heads=2)
//   hsm:scalar                               hsm:vector(heads=4,proj=vo,boundary=self,shifts=1|2|4|8)
//
// Defaults: attention takes heads and kv_heads from the arguments; hsm has heads=1 (or as many as shifts are given),
// proj=none, boundary=zero and the shift schedule below.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "nn/model_config.h"

namespace mixgrad {

struct PatternDefaults {
  std::int64_t layers = 1;
  std::int64_t heads = 1;
  std::int64_t kv_heads = 0;  // 0: as many as the layer has heads
  std::int64_t context = 1;   // tokens; decides when the shifts start again
};

// One LayerConfig per layer. ValueError: not a pattern, an unknown name (with the nearest right one and the list), a
// value outside its range. Whether heads divide the width is validate()'s business.
std::vector<LayerConfig> expand_mixer_pattern(std::string_view pattern, const PatternDefaults& defaults);

// The default shift in tokens of head h in the l-th HSM layer (other layers do not count):
// 2^((l+h) mod P), P = max(1, ceil(log2 context)).
std::int64_t default_shift(std::int64_t hsm_layer, std::int64_t head, std::int64_t context);

}  // namespace mixgrad
