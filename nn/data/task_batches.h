// A task as a stream of batches, and the sequences of it that are for evaluation.
//
//   const TaskBatches batches(parse_task("parity(length=16)"));
//   batches.sample_batch(rng, tokens, targets);   // rows of counters rng.counter(), + 1, ...
#pragma once

#include <cstdint>

#include "nn/data/batch_stream.h"
#include "nn/data/tasks/task.h"
#include "nn/data/token_data.h"

namespace mixgrad {

// The counter of the first sequence for evaluation. A run draws its batches with kFirstDraw and above, so that with any
// seed both are different sequences, as far as the task has enough of them.
inline constexpr std::uint64_t kFirstTaskEvaluation = std::uint64_t{1} << 61U;

class TaskBatches final : public BatchStream {
 public:
  explicit TaskBatches(TaskPtr task) : task_(std::move(task)) {}

  const Task& task() const { return *task_; }
  const TaskPtr& task_ptr() const { return task_; }
  // The identity of what is generated, for a run that is resumed: of the task's text and of the version of generators.
  TextId id() const;

  // Row b is the sequence of counter rng.counter() + b. ShapeError for other tensors than [B, length()].
  void sample_batch(Rng& rng, const Tensor& tokens, const Tensor& targets) const override;
  void check_context(std::int64_t context) const override;  // which must be length()
  const TokenData* text() const override { return nullptr; }

 private:
  TaskPtr task_;
};

}  // namespace mixgrad
