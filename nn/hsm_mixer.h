// Hierarchical shift mixing: each token is mixed with the one s before it (ops/shift_mix).
//   u' = v(u) when proj has v;  y = a u'_t + b u'_{t-s};  o(y) when proj has o
//   parameters: PREFIX.a, PREFIX.b [H] (scalar) or [D] (vector), PREFIX.v.weight, PREFIX.o.weight [D,D] and biases
// State: per head a ring of the last s_h vectors, B sum_h s_h D/H elements, constant in the generated length.
#pragma once

#include <vector>

#include "nn/layers.h"
#include "nn/mixer.h"
#include "ops/shift_mix/shift_mix.h"

namespace mixgrad {

struct HsmState : MixerState {
  Tensor ring;  // [B, sum_h s_h D/H]
  std::int64_t consumed = 0;

  std::int64_t position() const override { return consumed; }
  std::size_t bytes() const override { return ring.bytes(); }
  void reset() override { consumed = 0; }
  std::unique_ptr<MixerState> clone() const override;
};

class HsmMixer : public Mixer {
 public:
  HsmMixer(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config, const HsmConfig& layer,
           double out_deviation, double init_scale);

  std::string describe() const override;
  Tensor forward(const Tensor& u) const override;
  std::unique_ptr<MixerState> new_state(std::int64_t batch, std::int64_t max_tokens, DType dtype) const override;
  Tensor prefill(const Tensor& u, MixerState& state) const override;
  double operations(std::int64_t tokens) const override;
  std::size_t state_bytes(std::int64_t tokens, DType dtype) const override;

 private:
  std::int64_t ring_elements() const;
  ShiftOptions options() const { return {shifts_, boundary_}; }

  HsmVariant variant_;
  std::int64_t width_;
  std::vector<std::int64_t> shifts_;
  Boundary boundary_;
  std::vector<Linear> v_;  // none or one
  std::vector<Linear> o_;  // none or one
  const Parameter* a_;
  const Parameter* b_;
};

}  // namespace mixgrad
