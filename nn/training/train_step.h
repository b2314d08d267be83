// One training step whose batches the caller gives.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/rng.h"
#include "nn/data/batch_stream.h"
#include "nn/distributed/communicator.h"
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

  // Where the gradients of a micro-batch go: to the sum of the step, or apart, until add_part() adds them to it.
  enum class Into : std::uint8_t { sum, part };

  // Adds the gradients of a micro-batch, divided by `divisor` (target_shares.h): tokens, targets [B,T] i32. Returns its
  // loss, which is not divided. `dropout` is that of the step and micro-batch (DropoutMask::in_step).
  double accumulate(const Tensor& tokens, const Tensor& targets, double divisor = 1, const DropoutMask& dropout = {},
                    Into into = Into::sum);
  // Takes the memory of Into::part, which the first such micro-batch takes otherwise.
  void reserve_part();
  // Adds to the sum the parts of all ranks, in rank order.
  void add_part(Communicator& ranks, std::size_t bucket_bytes);
  // Makes the sum that of all ranks; with a sharded optimizer at each rank that of its share.
  void reduce(Communicator& ranks, const ReduceOptions& options);
  // Steps with what has been accumulated since the last apply(). Returns the gradient norm before clipping.
  double apply(double learning_rate);

  // Forgets what has been accumulated instead. Returns its norm.
  double discard();

  // Both for a single batch; a loss that is not finite is discarded.
  StepResult run(const Tensor& tokens, const Tensor& targets, double learning_rate);
  const Gradients& gradients() const { return gradients_; }

 private:
  // The shares of a sharded optimizer in numbers [begin, end) of the gradients, counted from `begin`; otherwise none.
  std::span<const std::int64_t> shares_of(std::int64_t begin, std::int64_t end);

  Decoder& model_;
  Optimizer& optimizer_;
  const Objective* objective_;
  Gradients gradients_;
  std::optional<Gradients> part_;
  std::vector<std::int64_t> shares_;
  bool sum_is_empty_ = true;  // of the parts
};

// Draws `parts` micro-batches into tokens and targets [parts B,T] i32 and adds the gradients of each, so that every
// target counts the same. Returns the mean loss of all targets. Of data with document_start() each micro-batch is cut
// there, and run group by group of documents of similar length. `dropout` is that of `number`, the step's number in the
// schedule. ShapeError unless `parts` divides the first axis of tokens; ValueError for parts below 1.
//
// In a job of several ranks the micro-batches are those of the whole job. Each rank runs its rows of each of them (the
// first ranks one more where they cannot be cut equally), which counts as a micro-batch of its own for dropout. Loss
// and gradients are those of the whole job on every rank. With ReduceOrder::rank the gradients of these pieces are
// added one by one, over micro-batches and in each over ranks: n ranks then give the bits of one with n times the
// micro-batches.
struct StepDropout {
  DropoutMask mask = {};
  std::int64_t number = 0;
};
struct StepRanks {
  Communicator* communicator = nullptr;  // null: nothing is summed, each rank keeps its own loss and gradients
  ReduceOptions reduce = {};
  int rank = 0, size = 1;

  static StepRanks of(Communicator* ranks, const ReduceOptions& reduce) {
    return ranks == nullptr ? StepRanks{} : StepRanks{ranks, reduce, ranks->rank(), ranks->size()};
  }
  // The rows [begin, end) of `rows` that this rank runs.
  std::int64_t begin(std::int64_t rows) const {
    return rank * (rows / size) + std::min<std::int64_t>(rank, rows % size);
  }
  std::int64_t end(std::int64_t rows) const { return StepRanks{nullptr, {}, rank + 1, size}.begin(rows); }
};
double accumulate_batches(TrainStep& step, const BatchStream& data, Rng& rng, std::int64_t parts, const Tensor& tokens,
                          const Tensor& targets, const StepDropout& dropout = {}, const StepRanks& ranks = {});

}  // namespace mixgrad
