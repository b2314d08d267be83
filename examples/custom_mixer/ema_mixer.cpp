#include "ema_mixer.h"

#include <cmath>

#include "ema.h"

namespace ema {

using namespace mixgrad;

namespace {

constexpr std::int64_t kSlowest = 1 << 20;

LayerConfig expand(const PatternItem& item, const PatternDefaults&, const PatternLayer&) {
  item.only({"slowest"});
  return EmaConfig{.slowest = item.count("slowest", 64, kSlowest)};
}

std::vector<LayerForm> forms(std::int64_t length) { return {{EmaConfig{2}}, {EmaConfig{length}}, {EmaConfig{1000}}}; }

}  // namespace

const LayerKind& EmaConfig::kind() {
  static const LayerKind kind{.name = "ema",
                              .values = EmaConfig{},
                              .patterns = {{.name = "ema", .example = "ema(slowest=64)", .expand = expand}},
                              .forms = forms};
  return kind;
}

void EmaConfig::fields(LayerFields& fields) { fields.integer("slowest", slowest, {2, kSlowest}); }

void EmaConfig::check(LayerRules& rules) const { rules.size("slowest", slowest, kSlowest, 2); }

std::unique_ptr<MixerState> EmaState::clone() const {
  auto copy = std::make_unique<EmaState>(*this);
  copy->mean = mean.clone();
  return copy;
}

// The order in which parameters are asked for is their order in a checkpoint and never changes.
EmaMixer::EmaMixer(const EmaConfig& layer, const MixerSetup& setup)
    : width_(setup.config.d_model),
      v_(setup.parameters, setup.prefix + ".v", width_, width_, setup.config.bias, kInitDeviation),
      // A channel remembers 1 / (1 - g) = 1 + e^gate tokens, so these draws are spread from 1 to `slowest`.
      gate_(keep_in_f32(setup.parameters.add(setup.prefix + ".gate", {width_},
                                             Init::uniform(std::log(static_cast<double>(layer.slowest))), false))),
      o_(setup.parameters, setup.prefix + ".o", width_, width_, setup.config.bias, setup.out_deviation) {}

Tensor EmaMixer::forward(const LayerInput& input) const {
  return o_.forward(ema(v_.forward(input.normed), gate_->value));
}

double EmaMixer::operations(std::int64_t) const {
  return static_cast<double>(v_.operations() + 3 * width_ + o_.operations());
}

std::size_t EmaMixer::state_bytes(std::int64_t, DType dtype) const {
  return static_cast<std::size_t>(width_) * dtype_bytes(accumulation_dtype(dtype));
}

std::unique_ptr<EmaState> EmaMixer::empty_state(std::int64_t batch, std::int64_t, Placement placement) const {
  auto state = std::make_unique<EmaState>();
  state->mean = Tensor::zeros({batch, width_}, accumulation_dtype(placement.dtype), placement.device);
  return state;
}

Tensor EmaMixer::continued(const LayerInput& input, EmaState& state, TokenPosition) const {
  return o_.forward(ema_cached(v_.forward(input.normed), gate_->value, state.mean));
}

void register_ema() {
  static const MixerKind kind{.layer = &EmaConfig::kind(),
                              .make = [](const LayerConfig& layer, const MixerSetup& setup) -> std::unique_ptr<Mixer> {
                                return std::make_unique<EmaMixer>(layer.get<EmaConfig>(), setup);
                              }};
  register_mixer_kind(kind);
}

}  // namespace ema
