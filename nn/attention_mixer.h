// Softmax attention with grouped key/value heads and optional rotary positions.
//   qkv = linear(u);  q, k turned when positions are rotary;  y = o(attention(q, k, v))
//   parameters: PREFIX.qkv.weight [(H+2G) dh, D] (rows of q head-major, then k, then v), PREFIX.o.weight [D, H dh],
//   biases
// State: a ring of the last C = min(max_tokens, context) keys and values, [B,C,G dh] each:
//   2 B C G dh elements. Beyond C tokens the oldest is overwritten, which equals forward with a window of C.
#pragma once

#include "nn/layers.h"
#include "nn/mixer.h"
#include "ops/attention/attention.h"

namespace mixgrad {

struct AttentionState : MixerState {
  Tensor keys;    // [B,C,G dh], turned already
  Tensor values;  // [B,C,G dh]
  std::int64_t consumed = 0;

  std::int64_t position() const override { return consumed; }
  std::size_t bytes() const override { return keys.bytes() + values.bytes(); }
  void reset() override { consumed = 0; }
  std::unique_ptr<MixerState> clone() const override;
};

class AttentionMixer : public Mixer {
 public:
  AttentionMixer(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config,
                 const AttentionConfig& layer, double out_deviation);

  std::string describe() const override;
  Tensor forward(const Tensor& u) const override { return forward(u, 0); }
  // With a window each token sees the last `window` tokens only, itself included; 0 = all.
  Tensor forward(const Tensor& u, std::int64_t window) const;
  std::unique_ptr<MixerState> new_state(std::int64_t batch, std::int64_t max_tokens, DType dtype) const override;
  Tensor prefill(const Tensor& u, MixerState& state) const override;
  double operations(std::int64_t tokens) const override;
  std::size_t state_bytes(std::int64_t tokens, DType dtype) const override;

  // Recency ratio of each head [H] on u [B,T,D] with window k (ops/attention). Not recorded.
  Tensor recency(const Tensor& u, std::int64_t k) const;

 private:
  Tensor packed_qkv(const Tensor& u, std::int64_t first_position) const;
  Tensor ring_step(const Tensor& q, const Tensor& k, const Tensor& v, AttentionState& state) const;

  std::int64_t heads_;
  std::int64_t kv_heads_;
  std::int64_t head_dim_;
  std::int64_t context_;
  bool rotary_;
  double theta_;
  Linear qkv_;
  Linear o_;
};

}  // namespace mixgrad
