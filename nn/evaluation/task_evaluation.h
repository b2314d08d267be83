// How well a model does a task: answers, not only losses.
//
//   const TaskScore score = evaluate_task(model, *task, {.seed = 1, .sequences = 1000});
//   score.answers.share();      // 0.993
//   score.answers.interval();   // 0.990 to 0.995
//
// An answer is right when each of its tokens is the most probable one after the right tokens before it, which is when
// greedy decoding says the answer.
#pragma once

#include <cstdint>
#include <map>

#include "nn/data/tasks/task.h"
#include "nn/distributed/communicator.h"
#include "nn/model/decoder.h"

namespace mixgrad {

// How many were right, of how many.
struct Proportion {
  std::int64_t right = 0, count = 0;

  void add(bool is_right) {
    ++count;
    right += is_right ? 1 : 0;
  }
  double share() const { return count == 0 ? 0 : static_cast<double>(right) / static_cast<double>(count); }

  struct Interval {
    double low = 0, high = 1;
  };
  // Wilson's interval of 95 %, for independent trials; [0,1] of none. Answers of one sequence are not independent of
  // each other: of tasks with several answers a sequence the interval is somewhat too narrow.
  Interval interval() const;
};

struct TaskScore {
  Proportion answers, tokens;  // tokens: targets one by one
  Proportion sequences;        // right when all their answers are
  double loss = 0;             // nats a target
  // Answers by the position of their first target, by distance and by hops (nn/data/tasks/task.h); the last two have
  // only those that have one.
  std::map<std::int64_t, Proportion> by_position, by_distance, by_hop;
};

struct TaskEvaluationOptions {
  std::uint64_t seed = 1;
  std::int64_t sequences = 1000, batch = 16;
  Communicator* ranks = nullptr;  // of a job: as EvaluationOptions::ranks
};

// Of the sequences kFirstTaskEvaluation + 0, 1, ... of this seed. The task may have longer sequences than the model's
// context, except with learned positions. The result does not depend on `batch` beyond the rounding of the loss.
// ValueError: tokens that the model does not have, or sequences too long for its positions; NotFinite
// (nn/modules/finite_values.h); Interrupted (core/system/interrupt.h).
TaskScore evaluate_task(const Decoder& model, const Task& task, const TaskEvaluationOptions& options);

}  // namespace mixgrad
