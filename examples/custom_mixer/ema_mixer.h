// The layer kind `ema`: an exponential moving average along time, then a projection:  y = o(ema(v(u), gate))
//   --mixer ema,attention      config.json: {"mixer": "ema", "slowest": 64}
//   parameters: PREFIX.v.weight [D,D], PREFIX.gate [D], f32 in a bf16 model, PREFIX.o.weight [D,D]; biases of v and o
//   At the start the channels remember 1 to `slowest` tokens: g = 1 - 1 / tokens.
// State: the last average of each channel, B D elements in the accumulation dtype.
#pragma once

#include "mixgrad/mixgrad.h"

namespace ema {

struct EmaConfig {
  std::int64_t slowest = 64;  // tokens that the slowest channel remembers at the start
  friend bool operator==(const EmaConfig&, const EmaConfig&) = default;

  static const mixgrad::LayerKind& kind();
  void fields(mixgrad::LayerFields& fields);
  void check(mixgrad::LayerRules& rules) const;
};

struct EmaState : mixgrad::MixerState {
  mixgrad::Tensor mean;  // [B,D]; zeros at the start

  std::size_t bytes() const override { return mean.bytes(); }
  std::unique_ptr<mixgrad::MixerState> clone() const override;

 protected:
  void clear() override { mean.fill(0); }
};

class EmaMixer : public mixgrad::MixerOf<EmaState> {
 public:
  EmaMixer(const EmaConfig& layer, const mixgrad::MixerSetup& setup);

  std::string name() const override { return "ema"; }
  std::string describe() const override { return "ema, " + std::to_string(width_) + " channels"; }
  mixgrad::Tensor forward(const mixgrad::LayerInput& input) const override;
  double operations(std::int64_t tokens) const override;
  std::size_t state_bytes(std::int64_t tokens, mixgrad::DType dtype) const override;

 protected:
  std::unique_ptr<EmaState> empty_state(std::int64_t batch, std::int64_t max_tokens,
                                        mixgrad::Placement placement) const override;
  mixgrad::Tensor continued(const mixgrad::LayerInput& input, EmaState& state,
                            mixgrad::TokenPosition first) const override;

 private:
  std::int64_t width_;
  mixgrad::Linear v_;
  const mixgrad::Parameter* gate_;
  mixgrad::Linear o_;
};

// Makes `ema` known to configurations, --mixer patterns and the decoder. Call it once, before `ema` is used.
void register_ema();

}  // namespace ema
