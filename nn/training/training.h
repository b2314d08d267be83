// One training step and one evaluation, as the apps, the benchmark and the tests run them.
#pragma once

#include <cstdint>

#include "nn/model/decoder.h"
#include "nn/training/optimizers/adamw.h"

namespace mixgrad {

struct StepResult {
  double loss = 0;           // mean over the micro-batches, before the step
  double gradient_norm = 0;  // before clipping
};

// Gradients of the mean loss over `accumulate` micro-batches, then one AdamW step.
class TrainStep {
 public:
  TrainStep(Decoder& model, AdamW& optimizer)
      : model_(model), optimizer_(optimizer), gradients_(model.parameters().new_gradients()) {}

  // Adds the gradients of one of `parts` micro-batches: tokens, targets [B,T] i32. Returns its loss.
  double accumulate(const Tensor& tokens, const Tensor& targets, std::int64_t parts = 1);
  // Steps with what has been accumulated since the last apply(). Returns the gradient norm before clipping.
  double apply(double learning_rate);

  // Forgets what has been accumulated instead; returns its norm.
  double discard();

  // Both for a single batch.
  StepResult run(const Tensor& tokens, const Tensor& targets, double learning_rate);
  const Gradients& gradients() const { return gradients_; }

 private:
  Decoder& model_;
  AdamW& optimizer_;
  Gradients gradients_;
};

}  // namespace mixgrad
