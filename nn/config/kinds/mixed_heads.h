// Softmax, Mamba and shift heads side by side, as a layer of a configuration, whose name in config.json is
// "recurformer": the mixer is nn/mixers/mixed_heads_mixer.h.
//   --mixer recurformer(fraction=0.5)           the last round(fraction G) of the G key/value groups are Mamba heads
//           recurformer(groups=0|2)             these groups are; which are best is not known before training
//           mamba(expand=1)                     all are
//           mixed(softmax=2,mamba=1,shift=1)    so many heads of each kind in this order; heads is their sum
//           recurformer(fraction=0,window_groups=1|2,window=64)   softmax groups of which two see a window only
//           mixed(softmax=2,windowed=2,window=64)                 the same, by numbers of heads
//           mamba(heads=1,o=false)              Mamba as published, with --mlp none
// Options of all: kv_heads, d_state=16, d_conv=4, expand=2, dt_rank=ceil(dh / 16), o=true (a product after the heads);
// of the first three heads, of mixed shifts=1|2|4|... (one for each shift head); of those with softmax heads qkv_bias.
#pragma once

#include <optional>

#include <string>
#include <vector>

#include "nn/config/layer_config.h"
#include "nn/config/layer_kinds.h"

namespace mixgrad {

// A key/value group takes all its heads / kv_heads query heads with it. A group that is neither recurrent nor a shift
// group is softmax attention; of these, the groups in window_groups see the last `window` tokens only.
struct MixedHeadsConfig {
  std::int64_t heads = 1;                        // divides d_model
  std::int64_t kv_heads = 1;                     // divides heads
  std::vector<std::int64_t> recurrent_groups{};  // of Mamba heads; ascending
  std::int64_t d_state = 16;                     // values of the scan state per channel
  std::int64_t d_conv = 4;                       // width of the causal convolution, tokens
  std::int64_t expand = 2;                       // inner channels of a Mamba head per channel of the head
  std::int64_t dt_rank = 1;                      // rank of the projection to the step sizes
  std::vector<std::int64_t> shift_groups{};      // of shift heads; ascending, disjoint from recurrent_groups
  std::vector<std::int64_t> shifts{};            // tokens, one per shift head in ascending head order
  std::vector<std::int64_t> window_groups{};     // of softmax heads with a window; ascending, in no other list
  std::int64_t window = 0;                       // tokens that their queries see, themselves included
  std::optional<bool> qkv_bias{};                // of qkv alone; without it the model's `bias`
  bool o = true;                                 // a product after the heads; without it they are the layer's output
  friend bool operator==(const MixedHeadsConfig&, const MixedHeadsConfig&) = default;

  std::int64_t heads_per_group() const { return heads / kv_heads; }
  std::int64_t softmax_groups() const {
    return kv_heads - static_cast<std::int64_t>(recurrent_groups.size() + shift_groups.size());
  }
  // The name in --mixer that gives such a layer, for errors: "mamba", "mixed" or "recurformer".
  std::string pattern_name() const;

  static const LayerKind& kind() { return mixed_heads_kind(); }
  void fields(LayerFields& fields);
  void check(LayerRules& rules) const;
};

inline constexpr std::int64_t kMaxState = 1024;    // d_state
inline constexpr std::int64_t kMaxConv = 64;       // d_conv
inline constexpr std::int64_t kMaxExpand = 64;     // expand
inline constexpr std::int64_t kMaxRank = 1 << 16;  // dt_rank

}  // namespace mixgrad
