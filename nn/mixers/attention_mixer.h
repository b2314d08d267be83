// Softmax attention with grouped key/value heads, optional rotary positions and optional windows.
//   qkv = linear(u);  q and k rotated when positions are rotary;  y = o(attention(q, k, v))
//   parameters: PREFIX.qkv.weight [(H+2G) dh, D] (rows of q head-major, then k, then v), PREFIX.o.weight [D, H dh]
//               and their biases
// With a window of W query i sees the keys j with i - W < j <= i.
// State: KeyValueState, a ring of the last C = min(max_tokens, context, W) keys (already rotated) and values:
//   2 B C G dh elements.
#pragma once

#include <optional>

#include <array>
#include <vector>

#include "nn/config/kinds/attention.h"
#include "nn/mixers/key_value_ring.h"
#include "nn/mixers/mixer_kinds.h"
#include "nn/modules/layers.h"
#include "ops/attention/attention.h"

namespace mixgrad {

// The recency ratio with window k of a head that attends to all it sees alike, on n tokens:
//   ((k+1)/n) (1 + H_n - H_{k+1}) with the harmonic numbers H;  1 when k + 1 >= n
// A head with an attention window of W sees at most W keys: (1/n) sum over i of min(i, k+1) / min(i, W), i from 1 to n.
double uniform_recency(std::int64_t n, std::int64_t k, std::int64_t attention_window = 0);

// What the heads of a layer computed, in parts [B,T,H_p dh] or [B,T,H_p,dh]; each part is a kind of heads.
struct HeadParts {
  static constexpr std::size_t kMost = 4;
  std::array<Tensor, kMost> parts;
  std::size_t count = 0;

  void add(Tensor part) { parts[count++] = std::move(part); }
  std::span<const Tensor> all() const { return {parts.data(), count}; }
};

// The heads alone, before o. A layer with heads of other kinds beside them uses this too. Some of the key/value groups
// may see a window: then the heads come in two parts, those of all groups with a window and those of all without, each
// with a ring of its own. qkv holds the rows of all groups in their order; where the two kinds of groups alternate, its
// result is put in another order first, which costs one copy of it.
class AttentionHeads {
 public:
  struct Sizes {
    std::int64_t heads = 1, kv_heads = 1, head_dim = 1;
    std::int64_t window = 0;                      // of the groups that have one; 0: none has
    std::vector<std::int64_t> windowed_groups{};  // ascending, counted among these groups
    std::optional<bool> bias{};                   // of qkv; without it the model's
  };
  AttentionHeads(const MixerSetup& setup, const Sizes& sizes);

  std::int64_t heads() const { return heads_; }
  std::size_t bands() const { return bands_.size(); }
  // Of the i-th part: its heads, counted among these, and the keys that they see (0: all).
  const std::vector<std::int64_t>& heads_of(std::size_t band) const { return bands_[band].numbers; }
  std::int64_t window_of(std::size_t band) const { return bands_[band].window; }

  std::string describe() const;  // "4 heads of width 32, 2 key/value heads, rotary, 2 heads with a window of 64"
  // [B,T,D] -> one part for each band. `window` > 0: no head sees more than so many tokens.
  void forward(const LayerInput& input, std::int64_t window, HeadParts& parts) const;
  void continued(const NormedInput& u, const std::vector<KeyValueRing>& rings, TokenPosition first,
                 HeadParts& parts) const;
  // The two halves of continued(), where one kernel computes the product that begins these heads and another one,
  // u more_weight^T, beside it: [B,T,(H+2G) dh + M], or nullopt (Linear::forward_beside); then what follows it.
  std::optional<Tensor> project_beside(const NormedInput& u, TokenPosition first, const Tensor& more_weight) const;
  void attend(const Tensor& packed, const std::vector<KeyValueRing>& rings, TokenPosition first,
              HeadParts& parts) const;
  std::vector<KeyValueRing> new_rings(std::int64_t batch, std::int64_t max_tokens, Placement placement) const;
  Tensor recency(const NormedInput& u, std::int64_t k) const;  // [H]
  Tensor profile(const NormedInput& u) const;                  // [B,H,2 + R]
  Tensor outputs(const NormedInput& u) const;                  // [B,T,H dh], in the order of the heads
  Tensor weights(const NormedInput& u) const;                  // [B,H,T T], f64 on the host
  std::vector<std::int64_t> windows() const;                   // of each head; 0: all
  double operations(std::int64_t tokens) const;
  std::size_t state_bytes(std::int64_t tokens, DType dtype) const;
  // Adding a constant to all keys changes no score, so the bias of keys that are not rotated has no gradient.
  RowRange rows_without_gradient(std::string_view parameter) const;

 private:
  struct Band {
    std::int64_t heads = 0, kv_heads = 0, window = 0;
    std::int64_t q = 0, k = 0, v = 0;     // its first columns in the packed result
    std::vector<std::int64_t> numbers{};  // of its heads
    AttentionOptions options(std::int64_t most = 0) const;
  };
  template <class Probe>
  Tensor probed(const NormedInput& u, const Probe& probe) const;
  void add_band(std::int64_t window, const std::vector<std::int64_t>& groups);
  Tensor packed_qkv(const NormedInput& u, TokenPosition first) const;  // [B,T,(H+2G) dh], band by band

  std::int64_t heads_;
  std::int64_t kv_heads_;
  std::int64_t head_dim_;
  std::int64_t context_;
  bool rotary_;
  double theta_;
  std::vector<Band> bands_;          // one or two
  std::vector<std::int64_t> slots_;  // where each head of qkv goes; empty when they lie band by band already
  Linear qkv_;
};

class AttentionMixer : public MixerOf<KeyValueState> {
 public:
  AttentionMixer(const AttentionConfig& layer, const MixerSetup& setup);

  std::string name() const override { return "attention"; }
  std::string describe() const override { return "attention, " + heads_.describe(); }
  Tensor forward(const LayerInput& input) const override { return windowed(input, 0); }
  Tensor windowed(const LayerInput& input, std::int64_t window) const override;
  double operations(std::int64_t tokens) const override;
  std::size_t state_bytes(std::int64_t tokens, DType dtype) const override { return heads_.state_bytes(tokens, dtype); }
  std::int64_t softmax_heads() const override { return heads_.heads(); }
  Tensor recency(const LayerInput& input, std::int64_t k) const override { return heads_.recency(input.normed, k); }
  std::vector<std::int64_t> softmax_windows() const override { return heads_.windows(); }
  Tensor softmax_profile(const LayerInput& input) const override { return heads_.profile(input.normed); }
  Tensor softmax_weights(const LayerInput& input) const override { return heads_.weights(input.normed); }
  Tensor softmax_outputs(const LayerInput& input) const override { return heads_.outputs(input.normed); }
  RowRange rows_without_gradient(std::string_view parameter) const override {
    return heads_.rows_without_gradient(parameter);
  }

 protected:
  std::unique_ptr<KeyValueState> empty_state(std::int64_t batch, std::int64_t max_tokens,
                                             Placement placement) const override;
  Tensor continued(const LayerInput& input, KeyValueState& state, TokenPosition first) const override;

 private:
  AttentionHeads heads_;
  Linear o_;
};

}  // namespace mixgrad
