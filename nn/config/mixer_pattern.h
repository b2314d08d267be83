// The --mixer option: which mixer each layer has.
//
//   pattern = item {"," item}, repeated cyclically over the layers;   item = name ["(" key=value {"," key=value} ")"]
//   attention                                attention(heads=4,kv_heads=2)
//   hsm:scalar                               hsm:vector(heads=4,proj=vo,boundary=self,shifts=1|2|4|8)
//   hsm:gate_double(schedule=reversed)       hsm:fusion(hidden=64,schedule=1|4|16)
//   recurformer(fraction=0.5)                recurformer(groups=0|2,expand=1,d_state=16,d_conv=4,dt_rank=2)
//   mamba(expand=1)                          mixed(softmax=2,mamba=1,shift=1,shifts=4)
//
// Defaults: attention takes heads and kv_heads from the arguments; hsm has heads=1 (or as many as shifts are given),
// proj=none, boundary=zero, schedule=doubling (nn/config/shift_schedule.h); fusion has as many hidden units in a head
// as the head has channels, so 3 D^2 / H weights, less than attention's 4 D^2. shifts are those of the heads, in every
// layer. recurformer: the key/value groups named, or the last round(fraction G) of them (fraction=0.5), are Mamba;
// which are best is not known before training (recency ratios tell afterwards). mamba: all are. mixed: so many softmax,
// Mamba and shift heads in this order, heads is their sum; shifts=1|2|4|...; d_state=16, d_conv=4, expand=2,
// dt_rank=ceil(dh / 16).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "nn/config/model_config.h"

namespace mixgrad {

struct PatternDefaults {
  std::int64_t layers = 1;
  std::int64_t heads = 1;
  std::int64_t kv_heads = 0;  // 0: as many as the layer has heads
  std::int64_t context = 1;   // tokens; decides when the shifts start again
  std::int64_t d_model = 1;   // the model's width, for sizes that follow it
};

// One LayerConfig per layer. ValueError: not a pattern, an unknown name (with the nearest right one and the list), a
// value outside its range. Whether heads divide the width is validate()'s business.
std::vector<LayerConfig> expand_mixer_pattern(std::string_view pattern, const PatternDefaults& defaults);

}  // namespace mixgrad
