// Softmax attention as a layer of a configuration: the mixer is nn/mixers/attention_mixer.h.
//   --mixer attention(heads=4,kv_heads=2)      heads and kv_heads from the command line where they are not given
//           attention(window=64)               query i sees the keys j with i - 64 < j <= i, its own included
//           attention(qkv_bias=true)           q, k and v have a bias, whatever --bias says
#pragma once

#include <optional>

#include "nn/config/layer_config.h"
#include "nn/config/layer_kinds.h"

namespace mixgrad {

struct AttentionConfig {
  std::int64_t heads = 1;          // divides d_model
  std::int64_t kv_heads = 1;       // divides heads
  std::int64_t window = 0;         // tokens that a query sees, itself included; 0: all before it
  std::optional<bool> qkv_bias{};  // of qkv alone; without it the model's `bias`
  friend bool operator==(const AttentionConfig&, const AttentionConfig&) = default;

  static const LayerKind& kind() { return attention_kind(); }
  void fields(LayerFields& fields);
  void check(LayerRules& rules) const;
};

}  // namespace mixgrad
