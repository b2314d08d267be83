#include "nn/training/optimizers/adamw.h"

#include <cmath>

#include "core/build.h"
#include "core/error.h"
#include "nn/training/optimizers/registry.h"

namespace mixgrad {

AdamW::AdamW(ParameterSet& parameters, const AdamWOptions& options)
    : Optimizer("adamw", parameters, options.clip),
      options_(options),
      m_(zeros_like_parameters("first moments")),
      v_(zeros_like_parameters("second moments")),
      scalars_(Tensor::zeros({AdamWScalars::kNumbers}, DType::f64, parameters.master().device())) {
  const auto check = [](const char* name, double value, bool good, const char* range) {
    if (!good) raise<ValueError>("adamw: ", name, " must be ", range, ", got ", value);
  };
  check("beta1", options.beta1, options.beta1 >= 0 && options.beta1 < 1, "in [0,1)");
  check("beta2", options.beta2, options.beta2 >= 0 && options.beta2 < 1, "in [0,1)");
  check("eps", options.eps, options.eps > 0 && std::isfinite(options.eps), "finite and above 0");
  check("weight_decay", options.weight_decay, options.weight_decay >= 0 && std::isfinite(options.weight_decay),
        "finite and at least 0");
}

std::vector<NamedTensor> AdamW::state() const {
  std::vector<NamedTensor> tensors;
  for (std::size_t i = 0; i < parameters().size(); ++i) {
    tensors.push_back(part(whole(0, m_), i, ".m"));
    tensors.push_back(part(whole(1, v_), i, ".v"));
  }
  return tensors;
}

void AdamW::queue_update(const Tensor& gradient) {
  const AdamWConstants constants{options_.beta1,        options_.beta2, options_.eps,
                                 options_.weight_decay, share_begin(),  parameters().master_begin()};
  const bool copies = parameters().dtype() == DType::bf16;
  const AdamWBuffers buffers{parameters().master(), m_, v_, copies ? parameters().flat() : Tensor()};
  MIXGRAD_DISPATCH_IF(build::has_cuda, gradient.device(), adamw_update, gradient, blocks(), constants, progress(),
                      scalars_, buffers);
}

void AdamW::restore(const Tensor& m, const Tensor& v, std::int64_t steps) {
  m_.copy_from(m);
  v_.copy_from(v);
  set_steps(steps);
}

OptimizerKind adamw_optimizer() {
  static const std::vector<OptionField<AdamWOptions>> fields{
      {"beta1", &AdamWOptions::beta1, {.high = 1, .high_excluded = true}, "decay of the first moment"},
      {"beta2", &AdamWOptions::beta2, {.high = 1, .high_excluded = true}, "decay of the second moment"},
      {"eps", &AdamWOptions::eps, {.low = 1e-30, .high = 1}, "added to the root of the second moment"},
      {"weight-decay", &AdamWOptions::weight_decay, {.high = 1000}, "weight decay of matrices and tables"},
  };
  return {.name = "adamw",
          .summary = "Adam with decoupled weight decay",
          .options = options_of(fields),
          .make = [](ParameterSet& parameters, const OptimizerSettings& settings) -> std::unique_ptr<Optimizer> {
            AdamWOptions options = read_options(fields, settings);
            options.clip = settings.clip;
            return std::make_unique<AdamW>(parameters, options);
          }};
}

}  // namespace mixgrad
