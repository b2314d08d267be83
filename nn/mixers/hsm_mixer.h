// Hierarchical shift mixing: each token is mixed with the one s before it; every head has its own shift s.
//   x = v(u) when proj has v, else u;   z_t = x_{t-s} per head;   y = f(x, z), one of nn/mixers/hsm_mixing.h;
//   o(y) when proj has o
//   parameters: those of the mixing, PREFIX.v.weight, PREFIX.o.weight [D,D] and their biases
// State: per head a ring of the last s_h vectors x, B sum_h s_h D/H elements, constant in the generated length.
#pragma once

#include <memory>
#include <optional>

#include "nn/config/kinds/hsm.h"
#include "nn/mixers/hsm_mixing.h"
#include "nn/mixers/mixer_kinds.h"
#include "nn/modules/layers.h"

namespace mixgrad {

struct HsmState : MixerState {
  Tensor ring;  // [B, sum_h s_h D/H]; nothing of it is read before it is written

  std::size_t bytes() const override { return ring.bytes(); }
  std::unique_ptr<MixerState> clone() const override;
};

class HsmMixer : public MixerOf<HsmState> {
 public:
  HsmMixer(const HsmConfig& layer, const MixerSetup& setup);

  std::string name() const override { return "hsm:" + to_string(layer_.variant); }
  std::string describe() const override;
  Tensor forward(const LayerInput& input) const override;
  double operations(std::int64_t tokens) const override;
  std::size_t state_bytes(std::int64_t tokens, DType dtype) const override;

 protected:
  std::unique_ptr<HsmState> empty_state(std::int64_t batch, std::int64_t max_tokens,
                                        Placement placement) const override;
  Tensor continued(const LayerInput& input, HsmState& state, TokenPosition first) const override;

 private:
  Tensor mix(const NormedInput& u, const HsmPast& past) const;
  ShiftOptions options() const { return {layer_.shifts, layer_.boundary}; }

  std::int64_t width_;
  HsmConfig layer_;
  std::optional<Linear> v_;
  std::unique_ptr<HsmMixing> mixing_;
  std::optional<Linear> o_;
};

// The value at which a and b of the model's shift-mixing layers start, where their mixing has these parameters
// (PREFIX.a, PREFIX.b); kHsmScale if this is not called. To be called before ParameterSet::initialize.
void set_hsm_scale(ParameterSet& parameters, const ModelConfig& config, double scale);

}  // namespace mixgrad
