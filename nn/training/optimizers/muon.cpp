#include "nn/training/optimizers/muon.h"

#include <algorithm>
#include <cmath>

#include "core/build.h"
#include "core/error.h"
#include "nn/training/optimizers/registry.h"

namespace mixgrad {

bool is_hidden_matrix(const Parameter& parameter) {
  const std::string& name = parameter.name;
  const int rank = parameter.shape.rank();
  if (!parameter.decay || rank < 2 || rank > 3 || name.ends_with(".conv.weight")) return false;
  return name != "embed.weight" && name != "pos.weight" && name != "head.weight";
}

Muon::Muon(ParameterSet& parameters, const MuonOptions& options)
    : Optimizer("muon", parameters, options.clip),
      options_(options),
      layout_(parameters.shapes()),
      first_(zeros_like_parameters("momenta and first moments")),
      second_(zeros_like_parameters("second moments")),
      scalars_(Tensor::zeros({AdamWScalars::kNumbers}, DType::f64, parameters.master().device())) {
  const auto check = [](const char* name, double value, bool good, const char* range) {
    if (!good) raise<ValueError>("muon: ", name, " must be ", range, ", got ", value);
  };
  check("muon_lr", options.muon_lr, options.muon_lr >= 0 && std::isfinite(options.muon_lr), "finite and at least 0");
  check("momentum", options.momentum, options.momentum >= 0 && options.momentum < 1, "in [0,1)");
  check("beta1", options.beta1, options.beta1 >= 0 && options.beta1 < 1, "in [0,1)");
  check("beta2", options.beta2, options.beta2 >= 0 && options.beta2 < 1, "in [0,1)");
  check("eps", options.eps, options.eps > 0 && std::isfinite(options.eps), "finite and above 0");
  check("weight_decay", options.weight_decay, options.weight_decay >= 0 && std::isfinite(options.weight_decay),
        "finite and at least 0");
  check("learning_rate", options.learning_rate, options.learning_rate > 0 && std::isfinite(options.learning_rate),
        "finite and above 0");
  rows_ = block_rows(parameters, layout_);
  other_blocks_ = Tensor::zeros(blocks().shape(), DType::i32, blocks().device());
}

std::vector<NamedTensor> Muon::state() const {
  std::vector<NamedTensor> tensors;
  for (std::size_t i = 0; i < parameters().size(); ++i) {
    if (is_hidden_matrix(parameters()[i])) {
      tensors.push_back(part(first_, i, ".momentum"));
      continue;
    }
    tensors.push_back(part(first_, i, ".m"));
    tensors.push_back(part(second_, i, ".v"));
  }
  return tensors;
}

// The table is changed in place: a captured step keeps its address.
void Muon::refresh_other_blocks() {
  const bool changed = refresh_rows(parameters(), rows_, [](const Parameter& parameter) {
    return parameter.trainable && !is_hidden_matrix(parameter);
  });
  if (changed) other_blocks_.copy_from(Tensor::from_i32(rows_, other_blocks_.shape()));
}

void Muon::queue_update(const Tensor& gradient) {
  refresh_other_blocks();
  const bool copies = parameters().dtype() == DType::bf16;
  const AdamWConstants adamw{options_.beta1, options_.beta2, options_.eps, options_.weight_decay};
  const AdamWBuffers buffers{parameters().master(), first_, second_, copies ? parameters().flat() : Tensor()};
  MIXGRAD_DISPATCH_IF(build::has_cuda, gradient.device(), adamw_update, gradient, other_blocks_, adamw, progress(),
                      scalars_, buffers);
  for (std::size_t i = 0; i < parameters().size(); ++i) {
    if (!parameters()[i].trainable || !is_hidden_matrix(parameters()[i])) continue;
    const MuonConstants constants{.relative_rate = options_.muon_lr / options_.learning_rate * parameters()[i].lr_scale,
                                  .momentum = options_.momentum,
                                  .weight_decay = options_.weight_decay};
    const MuonMatrices matrices{layout_.view(gradient, i), layout_.view(first_, i), layout_.view(buffers.master, i),
                                copies ? layout_.view(buffers.copy, i) : Tensor()};
    MIXGRAD_DISPATCH_IF(build::has_cuda, gradient.device(), muon_update, matrices, constants, progress());
  }
}

OptimizerKind muon_optimizer() {
  static const std::vector<OptionField<MuonOptions>> fields{
      {"muon-lr", &MuonOptions::muon_lr, {.high = 10}, "learning rate of matrices where the schedule has --lr"},
      {"momentum", &MuonOptions::momentum, {.high = 1, .high_excluded = true}, "decay of the matrices' momentum"},
      {"beta1", &MuonOptions::beta1, {.high = 1, .high_excluded = true}, "decay of the first moment"},
      {"beta2", &MuonOptions::beta2, {.high = 1, .high_excluded = true}, "decay of the second moment"},
      {"eps", &MuonOptions::eps, {.low = 1e-30, .high = 1}, "added to the root of the second moment"},
      {"weight-decay", &MuonOptions::weight_decay, {.high = 1000}, "weight decay of matrices and tables"},
  };
  return {.name = "muon",
          .summary = "orthogonal momentum for the layers' matrices, AdamW for the rest",
          .options = options_of(fields),
          .make = [](ParameterSet& parameters, const OptimizerSettings& settings) -> std::unique_ptr<Optimizer> {
            MuonOptions options = read_options(fields, settings);
            options.clip = settings.clip;
            options.learning_rate = settings.learning_rate;
            return std::make_unique<Muon>(parameters, options);
          }};
}

}  // namespace mixgrad
