#include "nn/training/optimizers/adamw.h"

#include <cmath>
#include <cstring>

#include "core/build.h"
#include "core/error.h"

namespace mixgrad {
namespace {

constexpr std::int64_t kStateNumbers = sizeof(AdamWDeviceState) / sizeof(double);

}  // namespace

AdamW::AdamW(ParameterSet& parameters, const AdamWOptions& options) : parameters_(parameters), options_(options) {
  const auto check = [](const char* name, double value, bool good, const char* range) {
    if (!good) raise<ValueError>("adamw: ", name, " must be ", range, ", got ", value);
  };
  check("beta1", options.beta1, options.beta1 >= 0 && options.beta1 < 1, "in [0,1)");
  check("beta2", options.beta2, options.beta2 >= 0 && options.beta2 < 1, "in [0,1)");
  check("eps", options.eps, options.eps > 0 && std::isfinite(options.eps), "finite and above 0");
  check("weight_decay", options.weight_decay, options.weight_decay >= 0 && std::isfinite(options.weight_decay),
        "finite and at least 0");
  check("clip", options.clip, options.clip > 0, "above 0");
  const Tensor& master = parameters.master();
  m_ = Tensor::zeros(master.shape(), master.dtype(), master.device());
  v_ = Tensor::zeros(master.shape(), master.dtype(), master.device());
  m_.set_role("first moments");
  v_.set_role("second moments");
  const FlatLayout layout(parameters.shapes());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::int64_t end = layout.offsets[i] + parameters[i].shape.numel();
    for (std::int64_t begin = layout.offsets[i]; begin < end; begin += kAdamWBlock) {
      blocks_.push_back({begin, std::min(end, begin + kAdamWBlock), true, true});
      owners_.push_back(&parameters[i]);
    }
  }
  sums_.resize(blocks_.size());
  if (!master.device().is_cuda()) return;
  device_sums_ = Tensor::zeros({static_cast<std::int64_t>(blocks_.size())}, DType::f64, master.device());
  state_ = Tensor::zeros({kStateNumbers}, DType::f64, master.device());
}

AdamWConstants AdamW::constants() const {
  return {options_.beta1, options_.beta2, options_.eps, options_.weight_decay, options_.clip};
}

AdamWBuffers AdamW::buffers() const {
  const bool copies = parameters_.dtype() == DType::bf16;
  return {parameters_.master(), m_, v_, copies ? parameters_.flat() : Tensor()};
}

void AdamW::check_arrived(const Gradients& gradients) const {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i].trainable && !gradients.arrived(i)) {
      raise<GradError>("adamw: parameter '", parameters_[i].name,
                       "' has no gradient: the loss does not depend on it; freeze it (trainable = false) or use it");
    }
  }
}

void AdamW::note_flags() {
  bool changed = !table_.defined();
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const Parameter& owner = *owners_[i];
    changed = changed || blocks_[i].trainable != owner.trainable || blocks_[i].decay != owner.decay;
    blocks_[i].trainable = owner.trainable;
    blocks_[i].decay = owner.decay;
  }
  if constexpr (build::has_cuda) {
    if (changed && state_.defined()) table_ = cuda::adamw_table(blocks_, state_.device());
  }
}

double AdamW::norm(const Tensor& gradient) {
  note_flags();
  if constexpr (build::has_cuda) {
    if (gradient.device().is_cuda()) {
      cuda::adamw_norm(gradient, table_, device_sums_, state_);
      return read_state().norm;
    }
  }
  return cpu::adamw_norm(gradient, blocks_, sums_);
}

double AdamW::step(const Gradients& gradients, double learning_rate) {
  check_arrived(gradients);
  if (gradients.flat().device().is_cuda()) return step_on_device(gradients, learning_rate);
  const double gradient_norm = norm(gradients.flat());
  if (!std::isfinite(gradient_norm)) return gradient_norm;
  ++steps_;
  const double correction1 = 1.0 - std::pow(options_.beta1, static_cast<double>(steps_));
  const double correction2 = 1.0 - std::pow(options_.beta2, static_cast<double>(steps_));
  cpu::adamw_update(gradients.flat(), blocks_,
                    {.scale = std::min(1.0, options_.clip / (gradient_norm + 1e-6)),
                     .beta1 = options_.beta1,
                     .beta2 = options_.beta2,
                     .rate = learning_rate / correction1,
                     .inverse2 = 1.0 / correction2,
                     .eps = options_.eps,
                     .keep = 1.0 - learning_rate * options_.weight_decay},
                    buffers());
  return gradient_norm;
}

// The kernels of a captured step, with the host's values written before and read after.
double AdamW::step_on_device(const Gradients& gradients, double learning_rate) {
  AdamWDeviceState state{};
  state.learning_rate = learning_rate;
  state.steps = steps_;
  write_state(state);
  queue_step(gradients);
  state = read_state();
  steps_ = state.steps;
  return state.norm;
}

void AdamW::queue_step(const Gradients& gradients) {
  check_arrived(gradients);
  note_flags();
  if constexpr (build::has_cuda) {
    cuda::adamw_step(gradients.flat(), table_, device_sums_, constants(), buffers(), state_);
  }
}

AdamWDeviceState AdamW::read_state() const {
  const Tensor host = state_.to(kCpu);
  AdamWDeviceState state{};
  std::memcpy(&state, host.raw(), sizeof state);
  return state;
}

void AdamW::write_state(const AdamWDeviceState& state) {
  const Tensor host = Tensor::empty({kStateNumbers}, DType::f64);
  std::memcpy(host.raw(), &state, sizeof state);
  state_.copy_from(host);
}

void AdamW::restore(const Tensor& m, const Tensor& v, std::int64_t steps) {
  m_.copy_from(m);
  v_.copy_from(v);
  steps_ = steps;
}

}  // namespace mixgrad
