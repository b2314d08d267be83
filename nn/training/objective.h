// What a training step minimises where that is not the model's own loss, such as the distance to a teacher
// (nn/analysis/conversion/distillation.h).
//
//   TrainStep step(model, optimizer, &objective);
#pragma once

#include <cstdint>
#include <string>

#include "autograd/gradients.h"
#include "core/numeric/dropout_mask.h"
#include "core/tensor.h"
#include "nn/model/decoder.h"

namespace mixgrad {

class Objective {
 public:
  virtual ~Objective() = default;
  Objective(const Objective&) = delete;
  Objective& operator=(const Objective&) = delete;

  virtual std::string name() const = 0;  // what `loss` in metrics.jsonl means: "distill-logits"

  // What accumulate() runs: the model forward and then backward, or single layers, each forward and then backward.
  enum class Passes : std::uint8_t { of_the_model, of_each_layer };
  virtual Passes passes() const { return Passes::of_the_model; }

  // Adds to `gradients` those of the objective on a micro-batch, divided by `divisor`; tokens and targets [B,T] i32.
  // Returns the objective's value, which is not divided. Every trainable parameter gets a gradient.
  virtual double accumulate(Decoder& model, const Tensor& tokens, const Tensor& targets, double divisor,
                            const DropoutMask& dropout, Gradients& gradients) const = 0;

 protected:
  Objective() = default;
};

}  // namespace mixgrad
