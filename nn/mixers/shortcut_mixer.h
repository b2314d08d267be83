// Layerwise attention shortcuts: the mixer of the last layer, whose queries attend to the outputs of layers below, the
// "sources" h^{s_0}, ..., h^{s_{M-1}} (h^0 is the embedding's output, h^l that of the l-th layer).
//   f_m = down_m(gelu(up_m(norm_m(h^{s_m}))))      q = q(u)      k, v = kv(f), one kv for all sources
//   sequence: y = o(shortcut_attention(q, k, v)), one softmax over all (m, j <= i): M rows of keys a token
//   feature:  k, v of the concatenated channels [f_0 ... f_{M-1}]: one row a token, which is ordinary attention
//   depth:    y = o(shortcut_attention(q, k, v)) in which query i sees the M rows of its own token only
//   parameters: shortcut.{m}.norm, shortcut.{m}.up.weight [hidden,D], shortcut.{m}.down.weight [D,hidden],
//   PREFIX.q.weight [H dh,D], PREFIX.kv.weight [2G dh,D] (feature: [2G dh,M D]) with the rows of k, then v,
//   PREFIX.o.weight [D,H dh], biases
// Rotary positions turn q and all M keys of a token by that token's place. In the depth form both sides turn by the
// same angle, which changes no score: there nothing is turned. State: KeyValueState with M rows a token (feature 1,
// depth none): 2 B C M G dh elements, C = min(max_tokens, context).
//
// It is no Mixer: it needs more than the input of its own layer. The decoder hands it each hidden state as it appears,
// so what is kept of them is f alone, every f_m computed at its place in one [B,T,M D].
#pragma once

#include <vector>

#include "nn/mixers/key_value_state.h"
#include "nn/modules/layers.h"
#include "ops/shortcut_attention/shortcut_attention.h"

namespace mixgrad {

class ShortcutMixer {
 public:
  ShortcutMixer(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config, double out_deviation);

  std::string describe() const;

  // If h [B,T,D] = h^depth is a source, puts its f_m into its columns of `sources` [B,T,M D] of the model's dtype. The
  // first call makes that.
  void add_source(std::int64_t depth, const Tensor& h, DType dtype, Tensor& sources) const;

  // u [B,T,D] and all sources -> [B,T,D]. With a window each token sees those of the last `window` tokens only; 0 =
  // all.
  Tensor forward(const Tensor& u, const Tensor& sources, std::int64_t window) const;

  // As in a Mixer.
  std::unique_ptr<MixerState> new_state(std::int64_t batch, std::int64_t max_tokens, Placement place) const;
  Tensor prefill(const Tensor& u, const Tensor& sources, MixerState& state) const;
  double operations(std::int64_t tokens) const;
  std::size_t state_bytes(std::int64_t tokens, DType dtype) const;

  // How much of its attention each query gives to each source, [B,H,T,M]. Not recorded. ValueError for feature, whose
  // keys belong to all sources together.
  Tensor depth_mass(const Tensor& u, const Tensor& sources) const;

 private:
  struct Source {
    std::int64_t depth;
    NormLayer norm;
    Linear up, down;
  };

  std::int64_t rows_per_token() const;                                            // of keys
  std::int64_t state_rows() const;                                                // those of them that later tokens see
  Tensor queries(const Tensor& u, TokenPosition first_position) const;            // [B,T,H dh]
  Tensor keys_values(const Tensor& sources, TokenPosition first_position) const;  // [B,T r,2G dh]
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
