#include "nn/training/optimizers/optimizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/allocator.h"
#include "core/build.h"
#include "core/error.h"
#include "nn/distributed/device_sums.h"

namespace mixgrad {

Optimizer::Optimizer(std::string name, ParameterSet& parameters, double clip)
    : name_(std::move(name)), parameters_(parameters), clip_(clip), layout_(parameters.shapes()) {
  if (!(clip > 0)) raise<ValueError>(name_, ": clip must be above 0, got ", clip);
  rows_ = block_rows(parameters, layout_);
  const Device device = parameters.master().device();
  const auto count = static_cast<std::int64_t>(rows_.size()) / kBlockColumns;
  blocks_ = Tensor::zeros({count, kBlockColumns}, DType::i32, device);
  own_blocks_ = blocks_;
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
  sum_squares(gradient);
  MIXGRAD_DISPATCH_IF(build::has_cuda, gradient.device(), gradient_norm, sums_, progress_);
  wait_for_ranks();
  return read_progress().norm;
}

// The squares of each block; each rank forms those of its own, and all have the same sum over all blocks.
void Optimizer::sum_squares(const Tensor& gradient) {
  const Tensor own = sharded() ? sums_.slice(first_blocks_[own_rank()], first_blocks_[own_rank() + 1]) : sums_;
  MIXGRAD_DISPATCH_IF(build::has_cuda, gradient.device(), square_sums, gradient, own_blocks_, own);
  if (sharded()) ranks_->gather_shares({{sums_, first_blocks_}}, "the norm of the gradient");
}

// With a limit and with the others heard: reading the progress would wait for them without.
void Optimizer::wait_for_ranks() {
  if (sharded() && progress_.device().is_cuda()) ranks_->on_device(progress_.device()).wait("the exchange of weights");
}

double Optimizer::step(const Gradients& gradients, double learning_rate) {
  StepProgress now;
  now.learning_rate = learning_rate;
  now.steps = static_cast<double>(steps_);
  write_progress(now);
  queue_step(gradients);
  wait_for_ranks();
  now = read_progress();
  steps_ = static_cast<std::int64_t>(now.steps);
  return now.norm;
}

void Optimizer::queue_step(const Gradients& gradients) {
  require_gradients(gradients);
  refresh_blocks();
  const Tensor& gradient = gradients.flat();
  sum_squares(gradient);
  MIXGRAD_DISPATCH_IF(build::has_cuda, gradient.device(), begin_step, sums_, clip_, progress_);
  queue_update(gradient);
  if (sharded()) gather_parameters();
}

// A share is a sequence of whole blocks; all shares have about as many numbers.
void Optimizer::shard(Communicator& ranks) {
  const std::vector<Tensor*> tensors = divided_state();
  if (tensors.empty()) {
    raise<ValueError>(name_, ": its state cannot be divided over ranks, since the update of a matrix needs all of it; ",
                      "leave --shard out, or give --optimizer adamw");
  }
  MIXGRAD_ASSERT(!sharded(), "a state is divided once");
  if (ranks.alone()) return;
  ranks_ = &ranks;
  share_begins_ = {0};
  first_blocks_ = {0};
  const std::int64_t count = blocks_.dim(0);
  std::int64_t row = 0;
  const auto begin_of = [&](std::int64_t i) {
    return i == count ? layout_.total : rows_[static_cast<std::size_t>(i * kBlockColumns)] * kBlockAlignment;
  };
  for (int r = 1; r <= ranks.size(); ++r) {
    const std::int64_t wanted = r == ranks.size() ? layout_.total : layout_.total * r / ranks.size();
    while (begin_of(row) < wanted) ++row;
    share_begins_.push_back(begin_of(row));
    first_blocks_.push_back(row);
  }
  const std::size_t own = own_rank();
  own_blocks_ = blocks_.slice(first_blocks_[own], first_blocks_[own + 1]);
  for (Tensor* tensor : tensors) *tensor = tensor->slice(share_begins_[own], share_begins_[own + 1]).clone();
  if (parameters_.dtype() == DType::bf16) {
    parameters_.divide_masters(share_begins_[own], share_begins_[own + 1]);
    for (const std::int64_t begin : share_begins_) kept_begins_.push_back(parameters_.kept_begin(begin));
  }
  pool_trim(parameters_.device());  // the memory of the whole goes back to the system
}

// Gets what the other ranks have updated: the parameters that the model computes with.
void Optimizer::gather_parameters() {
  if (!parameters_.masters_divided()) {
    return ranks_->gather_shares({{parameters_.flat(), share_begins_}}, "the exchange of weights");
  }
  if (parameters_.kept_pieces().numel() > 0) {
    MIXGRAD_DISPATCH_IF(build::has_cuda, progress_.device(), copy_pieces, parameters_.master(), parameters_.kept(),
                        parameters_.kept_pieces(), progress_);
  }
  ranks_->gather_shares({{parameters_.flat(), share_begins_}, {parameters_.kept(), kept_begins_}},
                        "the exchange of weights");
}

void Optimizer::collect_state() {
  if (!sharded()) return;
  drop_collected_state();
  const auto gather = [&](const Tensor& own) {
    const Tensor whole = ranks_->leads() ? Tensor::empty({layout_.total}, own.dtype()) : Tensor();
    ranks_->gather_at_leader(own.to(kCpu), whole, share_begins_);
    return whole;
  };
  for (const Tensor* tensor : divided_state()) {
    const Tensor whole = gather(*tensor);
    if (whole.defined()) collected_.push_back(whole);
  }
  if (parameters_.masters_divided()) parameters_.show_masters(gather(parameters_.master()));
}

void Optimizer::drop_collected_state() {
  collected_.clear();
  if (parameters_.masters_divided()) parameters_.show_masters({});
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
