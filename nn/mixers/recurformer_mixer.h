// Heads of several kinds side by side in one layer (RecurFormer, and mixed heads): a key/value group with all its query
// heads is softmax attention, Mamba, or shift mixing.
//   each kind computes its heads from u; every head's output goes to its own slot h of the concatenation; y = o(that)
//   parameters: PREFIX.qkv (attention_mixer.h) with the rows of the softmax groups in their order, PREFIX.mamba.*
//   (mamba_heads.h), PREFIX.shift.* (shift_heads.h), PREFIX.o.weight [D,D] and bias; none of a kind without heads
// State: keys and values of the softmax groups only, the Mamba heads' two states, the shift heads' rings.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "nn/mixers/attention_mixer.h"
#include "nn/mixers/mamba_heads.h"
#include "nn/mixers/shift_heads.h"

namespace mixgrad {

struct RecurformerState : MixerState {
  std::unique_ptr<KeyValueState> attention;  // null without softmax heads
  std::optional<MambaState> mamba;           // empty without Mamba heads
  Tensor ring;                               // undefined without shift heads
  std::int64_t batch = 0;
  std::int64_t consumed = 0;

  std::int64_t position() const override { return consumed; }
  std::size_t bytes() const override;
  void reset() override;
  void advance(std::int64_t tokens) override;
  std::unique_ptr<MixerState> clone() const override;
};

class RecurformerMixer : public Mixer {
 public:
  RecurformerMixer(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config,
                   const RecurformerConfig& layer, double out_deviation);

  std::string describe() const override;
  Tensor forward(const Tensor& u) const override { return windowed(u, 0); }
  Tensor windowed(const Tensor& u, std::int64_t window) const override;
  Tensor recency(const Tensor& u, std::int64_t k) const override;
  std::unique_ptr<MixerState> new_state(std::int64_t batch, std::int64_t max_tokens, Placement place) const override;
  Tensor prefill(const Tensor& u, MixerState& state) const override;
  double operations(std::int64_t tokens) const override;
  std::size_t state_bytes(std::int64_t tokens, DType dtype) const override;

 private:
  struct Parts {  // what the kinds of heads computed, those that there are, in order
    std::array<Tensor, 3> of_kind;
    std::size_t count = 0;
    void add(Tensor part) { of_kind[count++] = std::move(part); }
  };
  Tensor joined(const Parts& parts) const;  // -> o

  std::int64_t head_dim_;
  std::vector<std::int64_t> slots_;  // of the softmax heads, then the Mamba heads, then the shift heads
  bool in_order_;                    // one kind only: nothing to put side by side
  std::optional<AttentionHeads> attention_;
  std::optional<MambaHeads> mamba_;
  std::optional<ShiftHeads> shift_;
  std::optional<Linear> o_;
};

}  // namespace mixgrad
