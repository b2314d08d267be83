// Softmax attention as a layer of a configuration: the mixer is nn/mixers/attention_mixer.h.
//   --mixer attention(heads=4,kv_heads=2)      heads and kv_heads from the command line where they are not given
#pragma once

#include "nn/config/layer_config.h"
#include "nn/config/layer_kinds.h"

namespace mixgrad {

struct AttentionConfig {
  std::int64_t heads = 1;     // divides d_model
  std::int64_t kv_heads = 1;  // divides heads
  friend bool operator==(const AttentionConfig&, const AttentionConfig&) = default;

  static const LayerKind& kind() { return attention_kind(); }
  void fields(LayerFields& fields);
  void check(LayerRules& rules) const;
};

}  // namespace mixgrad
