// Softmax attention with grouped key/value heads and optional rotary positions.
//   qkv = linear(u);  q, k turned when positions are rotary;  y = o(attention(q, k, v))
//   parameters: PREFIX.qkv.weight [(H+2G) dh, D] (rows of q head-major, then k, then v), PREFIX.o.weight [D, H dh],
//   biases
// State: KeyValueState, a ring of the last C = min(max_tokens, context) keys (turned already) and values: 2 B C G dh
//   elements.
#pragma once

#include "nn/mixers/key_value_state.h"
#include "nn/modules/layers.h"
#include "ops/attention/attention.h"

namespace mixgrad {

// The recency ratio with window k of a head that attends to all it sees alike, on n tokens:
//   ((k+1)/n) (1 + H_n - H_{k+1}) with the harmonic numbers H;  1 when k + 1 >= n
double uniform_recency(std::int64_t n, std::int64_t k);

// The heads alone, before o: what a layer with other heads beside them has too.
class AttentionHeads {
 public:
  AttentionHeads(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config, std::int64_t heads,
                 std::int64_t kv_heads, std::int64_t head_dim);

  std::string describe() const;                                 // "4 heads of width 32, 2 key/value heads, rotary"
  Tensor forward(const Tensor& u, std::int64_t window) const;   // [B,T,D] -> [B,T,H dh]
  Tensor prefill(const Tensor& u, KeyValueState& state) const;  // likewise
  std::unique_ptr<KeyValueState> new_state(std::int64_t batch, std::int64_t max_tokens, Placement place) const;
  Tensor recency(const Tensor& u, std::int64_t k) const;  // [H]
  double operations(std::int64_t tokens) const;
  std::size_t state_bytes(std::int64_t tokens, DType dtype) const;

 private:
  struct Packed {
    Tensor whole;  // [B,T,(H+2G) dh]
    std::int64_t q_end, k_end;
  };
  Packed packed_qkv(const Tensor& u, TokenPosition first_position) const;

  std::int64_t heads_;
  std::int64_t kv_heads_;
  std::int64_t head_dim_;
  std::int64_t context_;
  bool rotary_;
  double theta_;
  Linear qkv_;
};

class AttentionMixer : public Mixer {
 public:
  AttentionMixer(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config,
                 const AttentionConfig& layer, double out_deviation);

  std::string describe() const override { return "attention, " + heads_.describe(); }
  Tensor forward(const Tensor& u) const override { return windowed(u, 0); }
  Tensor windowed(const Tensor& u, std::int64_t window) const override { return o_.forward(heads_.forward(u, window)); }
  Tensor recency(const Tensor& u, std::int64_t k) const override { return heads_.recency(u, k); }
  std::unique_ptr<MixerState> new_state(std::int64_t batch, std::int64_t max_tokens, Placement place) const override {
    return heads_.new_state(batch, max_tokens, place);
  }
  Tensor prefill(const Tensor& u, MixerState& state) const override;
  double operations(std::int64_t tokens) const override;
  std::size_t state_bytes(std::int64_t tokens, DType dtype) const override { return heads_.state_bytes(tokens, dtype); }

 private:
  AttentionHeads heads_;
  Linear o_;
};

}  // namespace mixgrad
