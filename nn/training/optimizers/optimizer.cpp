#include "nn/training/optimizers/optimizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/build.h"
#include "core/error.h"

namespace mixgrad {

Optimizer::Optimizer(std::string name, ParameterSet& parameters, double clip)
    : name_(std::move(name)), parameters_(parameters), clip_(clip), layout_(parameters.shapes()) {
  if (!(clip > 0)) raise<ValueError>(name_, ": clip must be above 0, got ", clip);
  rows_ = block_rows(parameters, layout_);
  const Device device = parameters.master().device();
  const auto count = static_cast<std::int64_t>(rows_.size()) / kBlockColumns;
  blocks_ = Tensor::zeros({count, kBlockColumns}, DType::i32, device);
  sums_ = Tensor::zeros({count}, DType::f64, device);
  progress_ = Tensor::zeros({StepProgress::kNumbers}, DType::f64, device);
}

std::vector<std::int32_t> Optimizer::block_rows(const ParameterSet& parameters, const FlatLayout& layout) {
  std::vector<std::int32_t> rows;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::int64_t end = layout.offsets[i] + parameters[i].shape.numel();
    for (std::int64_t begin = layout.offsets[i]; begin < end; begin += kBlockElements) {
      MIXGRAD_ASSERT(begin % kBlockAlignment == 0 && begin / kBlockAlignment <= INT32_MAX, "at most 2^35 parameters");
      rows.push_back(static_cast<std::int32_t>(begin / kBlockAlignment));
      rows.push_back(static_cast<std::int32_t>(std::min(end - begin, kBlockElements)));
      rows.push_back(-1);  // unlike any flags
      rows.push_back(0);
    }
  }
  return rows;
}

void Optimizer::require_gradients(const Gradients& gradients) const {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i].trainable && !gradients.arrived(i)) {
      raise<GradError>(name_, ": parameter '", parameters_[i].name,
                       "' has no gradient: the loss does not depend on it; freeze it (trainable = false) or use it");
    }
  }
}

// The table is changed in place: a captured step keeps its address.
void Optimizer::refresh_blocks() {
  const bool changed = refresh_rows(parameters_, rows_, [](const Parameter& parameter) { return parameter.trainable; });
  if (changed) blocks_.copy_from(Tensor::from_i32(rows_, blocks_.shape()));
}

double Optimizer::norm_of(const Gradients& gradients) {
  refresh_blocks();
  const Tensor& gradient = gradients.flat();
  MIXGRAD_DISPATCH_IF(build::has_cuda, gradient.device(), gradient_norm, gradient, blocks_, sums_, progress_);
  return read_progress().norm;
}

double Optimizer::step(const Gradients& gradients, double learning_rate) {
  StepProgress now;
  now.learning_rate = learning_rate;
  now.steps = static_cast<double>(steps_);
  write_progress(now);
  queue_step(gradients);
  now = read_progress();
  steps_ = static_cast<std::int64_t>(now.steps);
  return now.norm;
}

void Optimizer::queue_step(const Gradients& gradients) {
  require_gradients(gradients);
  refresh_blocks();
  const Tensor& gradient = gradients.flat();
  MIXGRAD_DISPATCH_IF(build::has_cuda, gradient.device(), begin_step, gradient, blocks_, sums_, clip_, progress_);
  queue_update(gradient);
}

StepProgress Optimizer::read_progress() const {
  const Tensor host = progress_.to(kCpu);
  StepProgress progress;
  std::memcpy(&progress, host.raw(), sizeof progress);
  return progress;
}

void Optimizer::write_progress(const StepProgress& progress) {
  if (progress_.device().is_cpu()) {
    std::memcpy(progress_.raw(), &progress, sizeof progress);
    return;
  }
  const Tensor host = Tensor::empty({StepProgress::kNumbers}, DType::f64);
  std::memcpy(host.raw(), &progress, sizeof progress);
  progress_.copy_from(host);
}

Tensor Optimizer::zeros_like_parameters(const char* role) const {
  const Tensor& master = parameters_.master();
  Tensor zeros = Tensor::zeros(master.shape(), master.dtype(), master.device());
  zeros.set_role(role);
  return zeros;
}

NamedTensor Optimizer::part(const Tensor& flat, std::size_t parameter, const char* suffix) const {
  return {parameters_[parameter].name + suffix, layout_.view(flat, parameter)};
}

}  // namespace mixgrad
