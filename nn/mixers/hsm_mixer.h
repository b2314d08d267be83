// Hierarchical shift mixing: each token is mixed with the one s before it; every head has its own shift s.
//   x = v(u) when proj has v, else u;   z_t = x_{t-s} per head;   y = f(x, z), one of nn/mixers/hsm_mixing.h;
//   o(y) when proj has o
//   parameters: those of the mixing, PREFIX.v.weight, PREFIX.o.weight [D,D] and their biases
// State: per head a ring of the last s_h vectors x, B sum_h s_h D/H elements, constant in the generated length.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "nn/mixers/hsm_mixing.h"
#include "nn/mixers/mixer.h"
#include "nn/modules/layers.h"

namespace mixgrad {

struct HsmState : MixerState {
  Tensor ring;  // [B, sum_h s_h D/H]
  std::int64_t consumed = 0;

  std::int64_t position() const override { return consumed; }
  std::size_t bytes() const override { return ring.bytes(); }
  void reset() override { consumed = 0; }
  void advance(std::int64_t tokens) override { consumed += tokens; }
  std::unique_ptr<MixerState> clone() const override;
};

class HsmMixer : public Mixer {
 public:
  HsmMixer(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config, const HsmConfig& layer,
           double out_deviation, double init_scale);

  std::string describe() const override;
  Tensor forward(const Tensor& u) const override;
  std::unique_ptr<MixerState> new_state(std::int64_t batch, std::int64_t max_tokens, Placement place) const override;
  Tensor prefill(const Tensor& u, MixerState& state) const override;
  double operations(std::int64_t tokens) const override;
  std::size_t state_bytes(std::int64_t tokens, DType dtype) const override;

 private:
  Tensor mix(const Tensor& u, const HsmPast& past) const;
  ShiftOptions options() const { return {layer_.shifts, layer_.boundary}; }

  std::int64_t width_;
  HsmConfig layer_;
  std::optional<Linear> v_;
  std::unique_ptr<HsmMixing> mixing_;
  std::optional<Linear> o_;
};

}  // namespace mixgrad
