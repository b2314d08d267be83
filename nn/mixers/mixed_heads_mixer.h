// Heads of several kinds side by side in one layer (RecurFormer, Mamba heads, mixed heads): a key/value group with all
// its query heads is softmax attention, Mamba, or shift mixing.
//   each kind computes its heads from u; the output of head h goes to columns [h dh, (h+1) dh) of the concatenation;
//   y = o(concatenation), or the concatenation itself in a layer without o
//   parameters: PREFIX.qkv (attention_mixer.h) with the rows of the softmax groups in their order, PREFIX.mamba.*
//   (mamba_heads.h), PREFIX.shift.* (shift_heads.h), PREFIX.o.weight [D,D] and bias; none of a kind without heads
// State: keys and values of the softmax groups only, of those with a window the last W, the Mamba heads' two states,
// the shift heads' rings.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "nn/config/kinds/mixed_heads.h"
#include "nn/mixers/attention_mixer.h"
#include "nn/mixers/mamba_heads.h"
#include "nn/mixers/shift_heads.h"

namespace mixgrad {

struct MixedHeadsState : MixerState {
  std::vector<KeyValueRing> attention;  // of softmax groups with a window and of those without; empty without any
  std::optional<MambaState> mamba;      // empty without Mamba heads
  Tensor ring;                          // undefined without shift heads

  std::size_t bytes() const override;
  std::unique_ptr<MixerState> clone() const override;

 protected:
  void clear() override;
};

class MixedHeadsMixer : public MixerOf<MixedHeadsState> {
 public:
  MixedHeadsMixer(const MixedHeadsConfig& layer, const MixerSetup& setup);

  std::string name() const override { return name_; }
  std::string describe() const override;
  Tensor forward(const LayerInput& input) const override { return windowed(input, 0); }
  Tensor windowed(const LayerInput& input, std::int64_t window) const override;
  double operations(std::int64_t tokens) const override;
  std::size_t state_bytes(std::int64_t tokens, DType dtype) const override;
  std::int64_t softmax_heads() const override { return attention_ ? attention_->heads() : 0; }
  Tensor recency(const LayerInput& input, std::int64_t k) const override;
  std::vector<std::int64_t> softmax_windows() const override;
  Tensor softmax_profile(const LayerInput& input) const override;
  Tensor softmax_outputs(const LayerInput& input) const override;
  Tensor softmax_weights(const LayerInput& input) const override;
  Tensor mamba_outputs(const LayerInput& input) const override;
  Tensor shift_outputs(const LayerInput& input) const override;
  RowRange rows_without_gradient(std::string_view parameter) const override;
  // What the scan of its Mamba heads reads; undefined tensors where there are none. Analyses call it without a tape.
  MambaSelection mamba_selection(const LayerInput& input) const;

 protected:
  std::unique_ptr<MixedHeadsState> empty_state(std::int64_t batch, std::int64_t max_tokens,
                                               Placement placement) const override;
  Tensor continued(const LayerInput& input, MixedHeadsState& state, TokenPosition first) const override;

 private:
  Tensor joined(const HeadParts& parts) const;  // -> o, if there is one

  std::string name_;
  std::int64_t head_dim_;
  std::vector<std::int64_t> order_;  // the softmax heads by their parts, then the Mamba heads, then the shift heads
  bool in_order_;                    // one part only: nothing to put side by side
  std::optional<AttentionHeads> attention_;
  std::optional<MambaHeads> mamba_;
  std::optional<ShiftHeads> shift_;
  std::optional<Linear> o_;  // empty in a layer without
};

}  // namespace mixgrad
