#include "nn/adamw.h"

#include <cmath>

#include "core/error.h"

namespace mixgrad {

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
  m_ = Tensor::zeros(parameters.flat().shape(), parameters.dtype(), parameters.device());
  v_ = Tensor::zeros(parameters.flat().shape(), parameters.dtype(), parameters.device());
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
}

double AdamW::norm(const Tensor& gradient) {
  for (std::size_t i = 0; i < blocks_.size(); ++i) {  // a parameter may have been frozen since the last step
    blocks_[i].trainable = owners_[i]->trainable;
    blocks_[i].decay = owners_[i]->decay;
  }
  if constexpr (build::has_cuda) {
    if (gradient.device().is_cuda()) return cuda::adamw_norm(gradient, blocks_, sums_);
  }
  return cpu::adamw_norm(gradient, blocks_, sums_);
}

void AdamW::update(const Tensor& gradient, const AdamWStep& step) {
  if constexpr (build::has_cuda) {
    if (gradient.device().is_cuda()) return cuda::adamw_update(gradient, blocks_, step, parameters_.flat(), m_, v_);
  }
  cpu::adamw_update(gradient, blocks_, step, parameters_.flat(), m_, v_);
}

double AdamW::step(const Gradients& gradients, double learning_rate) {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i].trainable && !gradients.arrived(i)) {
      raise<GradError>("adamw: parameter '", parameters_[i].name,
                       "' has no gradient: the loss does not depend on it; freeze it (trainable = false) or use it");
    }
  }
  const double gradient_norm = norm(gradients.flat());
  if (!std::isfinite(gradient_norm)) return gradient_norm;
  ++steps_;
  const double correction1 = 1.0 - std::pow(options_.beta1, static_cast<double>(steps_));
  const double correction2 = 1.0 - std::pow(options_.beta2, static_cast<double>(steps_));
  update(gradients.flat(), {.scale = std::min(1.0, options_.clip / (gradient_norm + 1e-6)),
                            .beta1 = options_.beta1,
                            .beta2 = options_.beta2,
                            .rate = learning_rate / correction1,
                            .inverse2 = 1.0 / correction2,
                            .eps = options_.eps,
                            .keep = 1.0 - learning_rate * options_.weight_decay});
  return gradient_norm;
}

void AdamW::restore(const Tensor& m, const Tensor& v, std::int64_t steps) {
  m_.copy_from(m);
  v_.copy_from(v);
  steps_ = steps;
}

}  // namespace mixgrad
