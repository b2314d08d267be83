#include "nn/hsm_mixer.h"

#include <algorithm>

#include "core/error.h"

namespace mixgrad {

std::unique_ptr<MixerState> HsmState::clone() const {
  auto copy = std::make_unique<HsmState>();
  copy->ring = ring.clone();
  copy->consumed = consumed;
  return copy;
}

HsmMixer::HsmMixer(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config,
                   const HsmConfig& layer, double out_deviation, double init_scale)
    : variant_(layer.variant), width_(config.d_model), shifts_(layer.shifts), boundary_(layer.boundary) {
  const Shape shape{variant_ == HsmVariant::scalar ? layer.heads : config.d_model};
  const bool has_v = layer.proj == HsmProjection::v || layer.proj == HsmProjection::vo;
  const bool has_o = layer.proj == HsmProjection::o || layer.proj == HsmProjection::vo;
  if (has_v) v_.emplace_back(parameters, prefix + ".v", width_, width_, config.bias, kInitDeviation);
  a_ = parameters.add(prefix + ".a", shape, Init::constant(init_scale), false);
  b_ = parameters.add(prefix + ".b", shape, Init::constant(init_scale), false);
  if (has_o) o_.emplace_back(parameters, prefix + ".o", width_, width_, config.bias, out_deviation);
}

std::string HsmMixer::describe() const {
  std::string text = std::string("hsm ") + (variant_ == HsmVariant::scalar ? "scalar" : "vector") + ", shifts";
  for (const std::int64_t shift : shifts_) text += " " + std::to_string(shift);
  if (!v_.empty()) text += ", projected v";
  if (!o_.empty()) text += ", projected o";
  return text;
}

Tensor HsmMixer::forward(const Tensor& u) const {
  const Tensor x = v_.empty() ? u : v_[0].forward(u);
  const Tensor y = shift_mix(x, a_->value, b_->value, options());
  return o_.empty() ? y : o_[0].forward(y);
}

std::int64_t HsmMixer::ring_elements() const {
  std::int64_t total = 0;
  for (const std::int64_t shift : shifts_) total += shift;
  return total * (width_ / static_cast<std::int64_t>(shifts_.size()));
}

std::unique_ptr<MixerState> HsmMixer::new_state(std::int64_t batch, std::int64_t max_tokens, DType dtype) const {
  if (batch < 1 || max_tokens < 1) {
    raise<ValueError>("hsm state: batch and max_tokens must be at least 1, got ", batch, " and ", max_tokens);
  }
  auto state = std::make_unique<HsmState>();
  state->ring = Tensor::empty({batch, ring_elements()}, dtype);
  return state;
}

Tensor HsmMixer::prefill(const Tensor& u, MixerState& base) const {
  auto* state = dynamic_cast<HsmState*>(&base);
  if (state == nullptr || state->ring.dim(0) != u.dim(0)) {
    raise<ValueError>("hsm: the state must come from this mixer's new_state with batch ", u.dim(0));
  }
  const Tensor x = v_.empty() ? u : v_[0].forward(u);
  const Tensor y = shift_mix_cached(x, a_->value, b_->value, state->ring, state->consumed, options());
  state->consumed += u.dim(1);
  return o_.empty() ? y : o_[0].forward(y);
}

double HsmMixer::operations(std::int64_t) const {
  double total = 3.0 * static_cast<double>(width_);
  for (const Linear& layer : v_) total += static_cast<double>(layer.operations());
  for (const Linear& layer : o_) total += static_cast<double>(layer.operations());
  return total;
}

std::size_t HsmMixer::state_bytes(std::int64_t, DType dtype) const {
  return static_cast<std::size_t>(ring_elements()) * dtype_bytes(dtype);
}

}  // namespace mixgrad
