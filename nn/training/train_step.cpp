#include "nn/training/train_step.h"

#include <cmath>
#include <optional>
#include <span>
#include <vector>

#include "nn/data/document_rows.h"
#include "nn/data/target_shares.h"

namespace mixgrad {

double TrainStep::accumulate(const Tensor& tokens, const Tensor& targets, double divisor, const DropoutMask& dropout) {
  const ContextScope scope(model_.context());
  if (objective_ != nullptr) return objective_->accumulate(model_, tokens, targets, divisor, dropout, gradients_);
  Tape tape;
  model_.parameters().watch(tape);
  const Tensor loss = model_.loss(tokens, targets, dropout);
  const double value = loss.item();
  std::move(tape).backward(loss, gradients_, 1.0 / divisor);
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

namespace {

// The micro-batches of a step, in order, the documents of each apart where they must be. Dropout draws for each of
// them.
struct MicroBatch {
  Tensor tokens, targets;  // [N,L] i32
  DropoutMask dropout;
};

void list_micro_batches(const BatchStream& data, std::int64_t parts, const Tensor& tokens, const Tensor& targets,
                        const StepDropout& dropout, DocumentCutter& cutter, std::vector<MicroBatch>& all) {
  const std::int64_t rows = tokens.dim(0) / parts;
  const std::optional<std::int32_t> start = data.document_start();
  all.clear();
  for (std::int64_t part = 0; part < parts; ++part) {
    const Tensor inputs = tokens.slice(part * rows, (part + 1) * rows);
    const Tensor wanted = targets.slice(part * rows, (part + 1) * rows);
    if (!start) {
      all.push_back({inputs, wanted, dropout.mask.in_step(dropout.number, parts, part)});
      continue;
    }
    const std::span<const DocumentRows> groups = cutter.cut(inputs, wanted, *start);
    const std::int64_t most = rows * tokens.dim(1);  // groups: each takes at least one token
    for (std::size_t g = 0; g < groups.size(); ++g) {
      const std::int64_t place = part * most + static_cast<std::int64_t>(g);
      all.push_back({groups[g].tokens, groups[g].targets, dropout.mask.in_step(dropout.number, parts * most, place)});
    }
  }
}

}  // namespace

double accumulate_batches(TrainStep& step, const BatchStream& data, Rng& rng, std::int64_t parts, const Tensor& tokens,
                          const Tensor& targets, const StepDropout& dropout) {
  data.sample_batch(rng, tokens, targets);
  const std::int64_t all = count_targets(targets);
  // Their memory is kept, so that a step allocates nothing.
  thread_local std::vector<MicroBatch> batches;
  thread_local DocumentCutter cutter;
  list_micro_batches(data, parts, tokens, targets, dropout, cutter, batches);
  double loss = 0;
  for (const MicroBatch& batch : batches) {
    const double divisor = target_divisor(count_targets(batch.targets), all, static_cast<std::int64_t>(batches.size()));
    loss += step.accumulate(batch.tokens, batch.targets, divisor, batch.dropout) / divisor;
  }
  batches.clear();
  return loss;
}

}  // namespace mixgrad
