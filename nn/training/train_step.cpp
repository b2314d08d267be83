#include "nn/training/train_step.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <vector>

#include "core/error.h"
#include "nn/data/document_rows.h"
#include "nn/data/target_shares.h"

namespace mixgrad {

double TrainStep::accumulate(const Tensor& tokens, const Tensor& targets, double divisor, const DropoutMask& dropout,
                             Into into) {
  const ContextScope scope(model_.context());
  if (into == Into::part) reserve_part();
  Gradients& gradients = into == Into::part ? *part_ : gradients_;
  if (objective_ != nullptr) return objective_->accumulate(model_, tokens, targets, divisor, dropout, gradients);
  Tape tape;
  model_.parameters().watch(tape);
  const Tensor loss = model_.loss(tokens, targets, dropout);
  const double value = loss.item();
  std::move(tape).backward(loss, gradients, 1.0 / divisor);
  return value;
}

void TrainStep::reserve_part() {
  if (!part_) part_ = model_.parameters().new_gradients();
}

void TrainStep::add_part(Communicator& ranks, std::size_t bucket_bytes) {
  const Communicator::Into into = sum_is_empty_ ? Communicator::Into::write : Communicator::Into::add;
  for (const auto& [begin, end] : part_->arrived_ranges()) {
    ranks.sum_in_order(part_->flat().slice(begin, end), gradients_.flat().slice(begin, end), into, bucket_bytes,
                       shares_of(begin, end));
  }
  gradients_.mark_arrived_as(*part_);
  part_->clear();
  sum_is_empty_ = false;
}

void TrainStep::reduce(Communicator& ranks, const ReduceOptions& options) {
  for (const auto& [begin, end] : gradients_.arrived_ranges()) {
    const Tensor range = gradients_.flat().slice(begin, end);
    if (optimizer_.sharded()) {
      ranks.sum_at_owners({range, shares_of(begin, end)}, options);
    } else {
      ranks.sum(range, options);
    }
  }
}

std::span<const std::int64_t> TrainStep::shares_of(std::int64_t begin, std::int64_t end) {
  shares_.clear();
  for (const std::int64_t share : optimizer_.share_begins()) shares_.push_back(std::clamp(share, begin, end) - begin);
  return shares_;
}

double TrainStep::apply(double learning_rate) {
  const ContextScope scope(model_.context());
  const double norm = optimizer_.step(gradients_, learning_rate);
  gradients_.clear();
  sum_is_empty_ = true;
  return norm;
}

double TrainStep::discard() {
  const ContextScope scope(model_.context());
  const double norm = optimizer_.norm_of(gradients_);
  gradients_.clear();
  sum_is_empty_ = true;
  return norm;
}

StepResult TrainStep::run(const Tensor& tokens, const Tensor& targets, double learning_rate) {
  StepResult result;
  result.loss = accumulate(tokens, targets);
  result.gradient_norm = std::isfinite(result.loss) ? apply(learning_rate) : discard();
  return result;
}

namespace {

// What this rank runs of the micro-batches of a step, in order, the documents of each apart where they must be. Dropout
// draws for each of them.
struct MicroBatch {
  Tensor tokens, targets;  // [N,L] i32
  DropoutMask dropout;
  std::int64_t part = 0;  // the micro-batch
};

void list_micro_batches(const BatchStream& data, std::int64_t parts, const Tensor& tokens, const Tensor& targets,
                        const StepDropout& dropout, const StepRanks& ranks, DocumentCutter& cutter,
                        std::vector<MicroBatch>& all) {
  const std::int64_t rows = tokens.dim(0) / parts;
  const std::int64_t pieces = parts * ranks.size;
  const std::int64_t most_rows = (rows + ranks.size - 1) / ranks.size;
  const std::optional<std::int32_t> start = data.document_start();
  all.clear();
  for (std::int64_t part = 0; part < parts; ++part) {
    const std::int64_t first = part * rows + ranks.begin(rows);
    const std::int64_t last = part * rows + ranks.end(rows);
    const std::int64_t piece = part * ranks.size + ranks.rank;
    const Tensor inputs = tokens.slice(first, last);
    const Tensor wanted = targets.slice(first, last);
    if (!start) {
      all.push_back({inputs, wanted, dropout.mask.in_step(dropout.number, pieces, piece), part});
      continue;
    }
    const std::span<const DocumentRows> groups = cutter.cut(inputs, wanted, *start);
    const std::int64_t most = most_rows * tokens.dim(1);  // groups: each takes at least one token
    for (std::size_t g = 0; g < groups.size(); ++g) {
      const std::int64_t place = piece * most + static_cast<std::int64_t>(g);
      const DropoutMask mask = dropout.mask.in_step(dropout.number, pieces * most, place);
      all.push_back({groups[g].tokens, groups[g].targets, mask, part});
    }
  }
}

// Of `own`, a loss for each micro-batch, and those of the other ranks: over micro-batches and in each over ranks.
double sum_of_losses(const std::vector<double>& own, Communicator& ranks) {
  const std::vector<double> all = ranks.gather(own);
  double sum = 0;
  for (std::size_t part = 0; part < own.size(); ++part) {
    for (std::size_t at = part; at < all.size(); at += own.size()) sum += all[at];
  }
  return sum;
}

}  // namespace

double accumulate_batches(TrainStep& step, const BatchStream& data, Rng& rng, std::int64_t parts, const Tensor& tokens,
                          const Tensor& targets, const StepDropout& dropout, const StepRanks& ranks) {
  if (parts < 1) raise<ValueError>("accumulate_batches: parts must be at least 1, got ", parts);
  if (tokens.shape().rank() != 2 || tokens.dim(0) % parts != 0) {
    raise<ShapeError>("accumulate_batches: tokens must be [parts B,T] for ", parts, " parts, got ", tokens.shape(),
                      "; take a first axis that ", parts, " divides");
  }
  data.sample_batch(rng, tokens, targets);
  const std::int64_t all = count_targets(targets);
  const bool part_by_part = ranks.communicator != nullptr && ranks.reduce.order == ReduceOrder::rank;
  const TrainStep::Into into = part_by_part ? TrainStep::Into::part : TrainStep::Into::sum;
  // Their memory is kept, so that a step allocates nothing.
  thread_local std::vector<MicroBatch> batches;
  thread_local std::vector<double> losses;  // of each micro-batch
  thread_local DocumentCutter cutter;
  list_micro_batches(data, parts, tokens, targets, dropout, ranks, cutter, batches);
  losses.assign(static_cast<std::size_t>(parts), 0);
  double loss = 0;
  for (std::size_t i = 0; i < batches.size(); ++i) {
    const MicroBatch& batch = batches[i];
    const double divisor = target_divisor(count_targets(batch.targets), all, static_cast<std::int64_t>(batches.size()));
    const double share = step.accumulate(batch.tokens, batch.targets, divisor, batch.dropout, into) / divisor;
    losses[static_cast<std::size_t>(batch.part)] += share;
    loss += share;
    const bool ends_part = i + 1 == batches.size() || batches[i + 1].part != batch.part;
    if (part_by_part && ends_part) step.add_part(*ranks.communicator, ranks.reduce.bucket_bytes);
  }
  batches.clear();
  if (ranks.communicator == nullptr) return loss;
  if (!part_by_part) step.reduce(*ranks.communicator, ranks.reduce);
  return sum_of_losses(losses, *ranks.communicator);
}

}  // namespace mixgrad
