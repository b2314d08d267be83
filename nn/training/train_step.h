// One training step whose batches the caller gives.
#pragma once

#include <cstdint>

#include "core/rng.h"
#include "nn/data/batch_stream.h"
#include "nn/model/decoder.h"
#include "nn/training/objective.h"
#include "nn/training/optimizers/optimizer.h"

namespace mixgrad {

struct StepResult {
  double loss = 0;           // mean over the targets, before the step
  double gradient_norm = 0;  // before clipping
};

// The gradients of the mean loss over the targets of some micro-batches, then one step of the optimizer.
class TrainStep {
 public:
  // `objective` is kept by reference; null: the model's loss.
  TrainStep(Decoder& model, Optimizer& optimizer, const Objective* objective = nullptr)
      : model_(model), optimizer_(optimizer), objective_(objective), gradients_(model.parameters().new_gradients()) {}

  // Adds the gradients of a micro-batch, divided by `divisor` (target_shares.h): tokens, targets [B,T] i32. Returns its
  // loss, which is not divided. `dropout` is that of the step and micro-batch (DropoutMask::in_step).
  double accumulate(const Tensor& tokens, const Tensor& targets, double divisor = 1, const DropoutMask& dropout = {});
  // Steps with what has been accumulated since the last apply(). Returns the gradient norm before clipping.
  double apply(double learning_rate);

  // Forgets what has been accumulated instead. Returns its norm.
  double discard();

  // Both for a single batch; a loss that is not finite is discarded.
  StepResult run(const Tensor& tokens, const Tensor& targets, double learning_rate);
  const Gradients& gradients() const { return gradients_; }

 private:
  Decoder& model_;
  Optimizer& optimizer_;
  const Objective* objective_;
  Gradients gradients_;
};

// Draws `parts` micro-batches into tokens and targets [parts B,T] i32 and adds the gradients of each, so that every
// target counts the same. Returns the mean loss of all targets. Of data with document_start() each micro-batch is cut
// there, and run group by group of documents of similar length. `dropout` is that of `number`, the step's number in the
// schedule.
struct StepDropout {
  DropoutMask mask = {};
  std::int64_t number = 0;
};
double accumulate_batches(TrainStep& step, const BatchStream& data, Rng& rng, std::int64_t parts, const Tensor& tokens,
                          const Tensor& targets, const StepDropout& dropout = {});

}  // namespace mixgrad
