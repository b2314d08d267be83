#include "nn/training/train_step.h"

#include <cmath>

namespace mixgrad {

double TrainStep::accumulate(const Tensor& tokens, const Tensor& targets, std::int64_t parts,
                             const DropoutMask& dropout) {
  const ContextScope scope(model_.context());
  Tape tape;
  model_.parameters().watch(tape);
  const Tensor loss = model_.loss(tokens, targets, dropout);
  const double value = loss.item();
  std::move(tape).backward(loss, gradients_, 1.0 / static_cast<double>(parts));
  return value;
}

double TrainStep::apply(double learning_rate) {
  const ContextScope scope(model_.context());
  const double norm = optimizer_.step(gradients_, learning_rate);
  gradients_.clear();
  return norm;
}

double TrainStep::discard() {
  const ContextScope scope(model_.context());
  const double norm = optimizer_.norm_of(gradients_);
  gradients_.clear();
  return norm;
}

StepResult TrainStep::run(const Tensor& tokens, const Tensor& targets, double learning_rate) {
  StepResult result;
  result.loss = accumulate(tokens, targets);
  result.gradient_norm = std::isfinite(result.loss) ? apply(learning_rate) : discard();
  return result;
}

double accumulate_batches(TrainStep& step, const BatchStream& data, Rng& rng, std::int64_t parts, const Tensor& tokens,
                          const Tensor& targets, const StepDropout& dropout) {
  double loss = 0;
  for (std::int64_t part = 0; part < parts; ++part) {
    data.sample_batch(rng, tokens, targets);
    const DropoutMask mask = dropout.mask.in_step(dropout.number, parts, part);
    loss += step.accumulate(tokens, targets, parts, mask) / static_cast<double>(parts);
  }
  return loss;
}

}  // namespace mixgrad
