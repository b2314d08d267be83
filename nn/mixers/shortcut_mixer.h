// Layerwise attention shortcuts: a mixer whose queries attend to the outputs of the layers below it, the
// "sources" h^{s_0}, ..., h^{s_{M-1}} (h^0 is the embedding's output, h^l that of the l-th layer).
//   f_m = down_m(gelu(up_m(norm_m(h^{s_m}))))      q = q(u)      k, v = kv(f), one kv for all sources
//   sequence: y = o(shortcut_attention(q, k, v)), one softmax over all (m, j <= i): M rows of keys a token
//   feature:  k, v of the concatenated channels [f_0 ... f_{M-1}]: one row a token, which is ordinary attention
//   depth:    y = o(shortcut_attention(q, k, v)) in which query i sees the M rows of its own token only
//   parameters: shortcut.{m}.norm, shortcut.{m}.up.weight [hidden,D], shortcut.{m}.down.weight [D,hidden],
//   PREFIX.q.weight [H dh,D], PREFIX.kv.weight [2G dh,D] (feature: [2G dh,M D]) with the rows of k, then v,
//   PREFIX.o.weight [D,H dh], biases
// Rotary positions rotate q and all M keys of a token by that token's position. In the depth form both sides would be
// rotated by the same angle, which changes no score, so nothing is rotated there. State: KeyValueState with M rows a
// token (feature 1, depth none): 2 B C M G dh elements, C = min(max_tokens, context).
//
// It is the mixer of the last layer of a model with a shortcut, whose LayerConfig must be attention: the heads are its.
// The decoder hands it each hidden state as it appears (add_source), so that of the hidden states f alone is kept,
// every f_m in its columns of one [B,T,M D], which is LayerInput::sources.
#pragma once

#include <vector>

#include "nn/mixers/key_value_ring.h"
#include "nn/mixers/mixer_kinds.h"
#include "nn/modules/layers.h"
#include "ops/shortcut_attention/shortcut_attention.h"

namespace mixgrad {

class ShortcutMixer : public MixerOf<KeyValueState> {
 public:
  // Of the model's last layer; the model has a shortcut.
  explicit ShortcutMixer(const MixerSetup& setup);

  std::string name() const override { return "shortcut"; }
  std::string describe() const override;
  Tensor forward(const LayerInput& input) const override { return windowed(input, 0); }
  // With a window each token sees the sources of the last `window` tokens only.
  Tensor windowed(const LayerInput& input, std::int64_t window) const override;
  double operations(std::int64_t tokens) const override;
  std::size_t state_bytes(std::int64_t tokens, DType dtype) const override;
  std::int64_t softmax_heads() const override { return heads_; }
  // ValueError for concat feature, where every key is made of all sources.
  Tensor depth_mass(const LayerInput& input) const override;
  RowRange rows_without_gradient(std::string_view parameter) const override;
  void add_source(std::int64_t depth, const NormedInput& below, DType dtype, Tensor& sources) const override;

 protected:
  std::unique_ptr<KeyValueState> empty_state(std::int64_t batch, std::int64_t max_tokens,
                                             Placement placement) const override;
  Tensor continued(const LayerInput& input, KeyValueState& state, TokenPosition first) const override;

 private:
  struct Source {
    std::int64_t depth;
    NormLayer norm;
    Linear up, down;
  };

  std::int64_t rows_per_token() const;                                   // of keys
  std::int64_t state_rows() const;                                       // those of them that later tokens see
  Tensor queries(const NormedInput& u, TokenPosition first) const;       // [B,T,H dh]
  Tensor keys_values(const Tensor& sources, TokenPosition first) const;  // [B,T r,2G dh]
  ShortcutAttentionOptions options(std::int64_t window) const;

  ShortcutConcat concat_;
  std::int64_t width_;
  std::int64_t heads_;
  std::int64_t kv_heads_;
  std::int64_t head_dim_;
  std::int64_t context_;
  bool rotary_;
  double theta_;
  Linear q_, kv_, o_;
  std::vector<Source> sources_;
};

}  // namespace mixgrad
