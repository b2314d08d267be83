#include "nn/mixers/hsm_mixer.h"

#include "ops/support/check.h"

namespace mixgrad {

std::unique_ptr<MixerState> HsmState::clone() const {
  auto copy = std::make_unique<HsmState>(*this);
  copy->ring = ring.clone();
  return copy;
}

HsmMixer::HsmMixer(const HsmConfig& layer, const MixerSetup& setup) : width_(setup.config.d_model), layer_(layer) {
  const bool has_v = layer.proj == HsmProjection::v || layer.proj == HsmProjection::vo;
  const bool has_o = layer.proj == HsmProjection::o || layer.proj == HsmProjection::vo;
  const bool bias = setup.config.bias;
  if (has_v) v_.emplace(setup.parameters, setup.prefix + ".v", width_, width_, bias, kInitDeviation);
  mixing_ = make_hsm_mixing({setup.parameters, setup.prefix, width_, layer_});
  if (has_o) o_.emplace(setup.parameters, setup.prefix + ".o", width_, width_, bias, setup.out_deviation);
}

std::string HsmMixer::describe() const {
  std::string text = "hsm " + to_string(layer_.variant) + (layer_.shifts.size() == 1 ? ", shift" : ", shifts");
  for (const std::int64_t shift : layer_.shifts) text += " " + std::to_string(shift);
  if (v_) text += ", projected v";
  if (o_) text += ", projected o";
  return text;
}

Tensor HsmMixer::mix(const NormedInput& u, const HsmPast& past) const {
  const Tensor y = v_ ? mixing_->forward(v_->forward(u), past) : mixing_->forward_normed(u, past);
  return o_ ? o_->forward(y) : y;
}

Tensor HsmMixer::forward(const LayerInput& input) const { return mix(input.normed, {.options = options()}); }

std::unique_ptr<HsmState> HsmMixer::empty_state(std::int64_t batch, std::int64_t, Placement placement) const {
  auto state = std::make_unique<HsmState>();
  state->ring = Tensor::empty({batch, ring_elements(width_, layer_.shifts)}, placement);
  return state;
}

Tensor HsmMixer::continued(const LayerInput& input, HsmState& state, TokenPosition first) const {
  const Tensor y = mix(input.normed, {options(), &state.ring, first});
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

void set_hsm_scale(ParameterSet& parameters, const ModelConfig& config, double scale) {
  for (std::size_t l = 0; l < config.layers.size(); ++l) {
    if (config.layers[l].get_if<HsmConfig>() == nullptr) continue;
    for (const char* name : {".mixer.a", ".mixer.b"}) {
      Parameter* parameter = parameters.find("layers." + std::to_string(l) + name);
      if (parameter != nullptr) parameter->init = Init::constant(scale);
    }
  }
}

std::unique_ptr<Mixer> make_hsm_mixer(const LayerConfig& layer, const MixerSetup& setup) {
  return std::make_unique<HsmMixer>(layer.get<HsmConfig>(), setup);
}

}  // namespace mixgrad
