// The trainer that the host drives: it draws the batches, and each step has run when queue() returns. On the CPU; on a
// CUDA device while each operator is compared with the CPU, and for data whose documents are cut apart.
#pragma once

#include "nn/training/train_step.h"
#include "nn/training/trainer.h"

namespace mixgrad {

class HostTrainer final : public Trainer {
 public:
  HostTrainer(Decoder& model, Optimizer& optimizer, const BatchStream& data, const Options& options);

  void start(std::int64_t step, const Rng& rng) override;
  void queue() override;
  Result wait() override { return result_; }
  std::int64_t steps_under_way() const override { return 1; }

 private:
  const BatchStream& data_;
  Options options_;
  TrainStep step_;
  Tensor tokens_, targets_;  // [accumulate B,T] i32
  Rng rng_{0};
  Result result_;
};

}  // namespace mixgrad
