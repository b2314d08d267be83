#include "nn/mixers/hsm_mixer.h"

#include "core/error.h"
#include "ops/support/check.h"

namespace mixgrad {

std::unique_ptr<MixerState> HsmState::clone() const {
  auto copy = std::make_unique<HsmState>();
  copy->ring = ring.clone();
  copy->consumed = consumed;
  return copy;
}

HsmMixer::HsmMixer(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config,
                   const HsmConfig& layer, double out_deviation, double init_scale)
    : width_(config.d_model), layer_(layer) {
  const bool has_v = layer.proj == HsmProjection::v || layer.proj == HsmProjection::vo;
  const bool has_o = layer.proj == HsmProjection::o || layer.proj == HsmProjection::vo;
  if (has_v) v_.emplace(parameters, prefix + ".v", width_, width_, config.bias, kInitDeviation);
  mixing_ = make_hsm_mixing({parameters, prefix, width_, layer_, init_scale});
  if (has_o) o_.emplace(parameters, prefix + ".o", width_, width_, config.bias, out_deviation);
}

std::string HsmMixer::describe() const {
  std::string text = "hsm " + to_string(layer_.variant) + ", shifts";
  for (const std::int64_t shift : layer_.shifts) text += " " + std::to_string(shift);
  if (v_) text += ", projected v";
  if (o_) text += ", projected o";
  return text;
}

Tensor HsmMixer::mix(const Tensor& u, const HsmPast& past) const {
  const Tensor y = mixing_->forward(v_ ? v_->forward(u) : u, past);
  return o_ ? o_->forward(y) : y;
}

Tensor HsmMixer::forward(const Tensor& u) const { return mix(u, {.options = options()}); }

std::unique_ptr<MixerState> HsmMixer::new_state(std::int64_t batch, std::int64_t max_tokens, Placement place) const {
  if (batch < 1 || max_tokens < 1) {
    raise<ValueError>("hsm state: batch and max_tokens must be at least 1, got ", batch, " and ", max_tokens);
  }
  auto state = std::make_unique<HsmState>();
  state->ring = Tensor::empty({batch, ring_elements(width_, layer_.shifts)}, place);
  return state;
}

Tensor HsmMixer::prefill(const Tensor& u, MixerState& base) const {
  auto* state = dynamic_cast<HsmState*>(&base);
  if (state == nullptr || state->ring.dim(0) != u.dim(0)) {
    raise<ValueError>("hsm: the state must come from this mixer's new_state with batch ", u.dim(0));
  }
  const HsmPast past{options(), &state->ring, state->next_position()};
  state->consumed += u.dim(1);  // first: what fails half-way must not look as if it had not begun
  const Tensor y = mix(u, past);
  require_untracked("hsm prefill", "the output", y);
  return y;
}

double HsmMixer::operations(std::int64_t) const {
  double total = mixing_->operations();
  if (v_) total += static_cast<double>(v_->operations());
  if (o_) total += static_cast<double>(o_->operations());
  return total;
}

std::size_t HsmMixer::state_bytes(std::int64_t, DType dtype) const {
  return static_cast<std::size_t>(ring_elements(width_, layer_.shifts)) * dtype_bytes(dtype);
}

}  // namespace mixgrad
