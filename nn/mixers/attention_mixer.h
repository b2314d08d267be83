// Softmax attention with grouped key/value heads and optional rotary positions.
//   qkv = linear(u);  q and k rotated when positions are rotary;  y = o(attention(q, k, v))
//   parameters: PREFIX.qkv.weight [(H+2G) dh, D] (rows of q head-major, then k, then v), PREFIX.o.weight [D, H dh],
//   biases
// State: KeyValueState, a ring of the last C = min(max_tokens, context) keys (already rotated) and values: 2 B C G dh
//   elements.
#pragma once

#include "nn/config/kinds/attention.h"
#include "nn/mixers/key_value_ring.h"
#include "nn/mixers/mixer_kinds.h"
#include "nn/modules/layers.h"
#include "ops/attention/attention.h"

namespace mixgrad {

// The recency ratio with window k of a head that attends to all it sees alike, on n tokens:
//   ((k+1)/n) (1 + H_n - H_{k+1}) with the harmonic numbers H;  1 when k + 1 >= n
double uniform_recency(std::int64_t n, std::int64_t k);

// The heads alone, before o. A layer with heads of other kinds beside them uses this too.
class AttentionHeads {
 public:
  AttentionHeads(const MixerSetup& setup, std::int64_t heads, std::int64_t kv_heads, std::int64_t head_dim);

  std::int64_t heads() const { return heads_; }
  std::string describe() const;                                     // "4 heads of width 32, 2 key/value heads, rotary"
  Tensor forward(const NormedInput& u, std::int64_t window) const;  // [B,T,D] -> [B,T,H dh]
  Tensor continued(const NormedInput& u, const KeyValueRing& ring, TokenPosition first) const;  // likewise
  KeyValueRing new_ring(std::int64_t batch, std::int64_t max_tokens, Placement placement) const;
  Tensor recency(const NormedInput& u, std::int64_t k) const;  // [H]
  double operations(std::int64_t tokens) const;
  std::size_t state_bytes(std::int64_t tokens, DType dtype) const;
  // Adding a constant to all keys changes no score, so the bias of keys that are not rotated has no gradient.
  RowRange rows_without_gradient(std::string_view parameter) const;

 private:
  struct Packed {
    Tensor whole;  // [B,T,(H+2G) dh]
    std::int64_t q_end, k_end;
  };
  Packed packed_qkv(const NormedInput& u, TokenPosition first) const;

  std::int64_t heads_;
  std::int64_t kv_heads_;
  std::int64_t head_dim_;
  std::int64_t context_;
  bool rotary_;
  double theta_;
  Linear qkv_;
};

class AttentionMixer : public MixerOf<KeyValueState> {
 public:
  AttentionMixer(const AttentionConfig& layer, const MixerSetup& setup);

  std::string name() const override { return "attention"; }
  std::string describe() const override { return "attention, " + heads_.describe(); }
  Tensor forward(const LayerInput& input) const override { return windowed(input, 0); }
  Tensor windowed(const LayerInput& input, std::int64_t window) const override {
    return o_.forward(heads_.forward(input.normed, window));
  }
  double operations(std::int64_t tokens) const override;
  std::size_t state_bytes(std::int64_t tokens, DType dtype) const override { return heads_.state_bytes(tokens, dtype); }
  std::int64_t softmax_heads() const override { return heads_.heads(); }
  Tensor recency(const LayerInput& input, std::int64_t k) const override { return heads_.recency(input.normed, k); }
  RowRange rows_without_gradient(std::string_view parameter) const override {
    return heads_.rows_without_gradient(parameter);
  }

 protected:
  std::unique_ptr<KeyValueState> empty_state(std::int64_t batch, std::int64_t max_tokens,
                                             Placement placement) const override;
  Tensor continued(const LayerInput& input, KeyValueState& state, TokenPosition first) const override {
    return o_.forward(heads_.continued(input.normed, state.ring, first));
  }

 private:
  AttentionHeads heads_;
  Linear o_;
};

}  // namespace mixgrad
