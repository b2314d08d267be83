#include "nn/training/diagnosis/explain.h"

#include "nn/training/diagnosis/finite.h"
#include "nn/training/train_step.h"

namespace mixgrad {

std::string explain_not_finite(Decoder& model, Optimizer& optimizer, const BatchStream& data, Rng rng,
                               std::int64_t batch, std::int64_t accumulate, const StepDropout& dropout,
                               const Objective* objective, const StepRanks& ranks) {
  std::string parameter = first_parameter_not_finite(model.parameters());
  if (!parameter.empty()) return parameter;
  const Tensor tokens = Tensor::empty({accumulate * batch, model.config().context}, DType::i32);
  const Tensor targets = Tensor::empty(tokens.shape(), DType::i32);
  TrainStep step(model, optimizer, objective);
  const FiniteWatch watch(model.parameters());
  accumulate_batches(step, data, rng, accumulate, tokens, targets, dropout, ranks);
  return watch.first().empty() ? std::string(kNoOperator) + "; the sum of the squares is too large for its type"
                               : watch.first();
}

}  // namespace mixgrad
