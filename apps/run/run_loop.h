// The steps of a training run: batches, AdamW, checkpoints, evaluations, and every way to end.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "apps/options/training_options.h"
#include "apps/run/progress.h"
#include "nn/data/token_data.h"
#include "nn/training/checkpoint.h"
#include "nn/training/graph_trainer.h"
#include "nn/training/training.h"

namespace mixgrad::app {

// How a run is kept and watched; none of it changes what is computed.
struct RunOptions {
  std::filesystem::path out;  // the run's folder
  std::int64_t stop_after = 0, eval_every = 500, save_every = 500, log_every = 10;
  std::int64_t skip_nonfinite = 0;
  EarlyStop early_stop;
  bool json = false;
};

class RunLoop {
 public:
  // Goes on from `state`; `optimizer` belongs to the model.
  RunLoop(Decoder& model, const TokenData& data, AdamW& optimizer, const TrainingOptions& training,
          const RunOptions& options, TrainerState state);

  // An exit code. Ends at the last step, by --stop-after, --early-stop, a signal, or a number that is not finite.
  int run();

 private:
  enum class After : std::uint8_t { go_on, stop_early, failed };

  bool step();          // false: not finite, and not to be skipped
  bool steps_queued();  // the same for all steps up to the next that is logged, saved or evaluated
  bool take_step(const TrainerState::Last& done, std::int64_t count);
  std::int64_t next_stop() const;
  double accumulate();
  void take_matmul_choices();
  void save();
  After evaluate_and_log();
  void log(std::optional<double> val_loss);
  void take(double val_loss);
  std::string explain(Rng start);
  int finish(bool early);
  int interrupted(int signal);
  int stop_not_finite();

  bool due(std::int64_t every) const { return every > 0 && state_.step % every == 0; }
  bool at_end() const { return state_.step == last_; }
  bool evaluation_scheduled() const { return due(options_.eval_every) || state_.step == training_.steps; }

  Decoder& model_;
  const TokenData& data_;
  AdamW& optimizer_;
  const TrainingOptions& training_;
  const RunOptions& options_;
  TrainerState state_;
  std::optional<TrainStep> step_;          // on a CUDA device only when a step is run again for its first number
  std::unique_ptr<GraphTrainer> trainer_;  // there: whole steps without the host
  Schedule schedule_;
  std::int64_t last_;  // the step to end at
  Tensor tokens_, targets_;
  Rng rng_, step_start_;
  bool chooses_products_ = false;  // a new run on a CUDA device
  Progress progress_;
  double window_start_ = 0;  // of the speed: seconds, and the steps since
  std::int64_t window_steps_ = 0;
  std::int64_t saved_step_ = -1;  // the generation on disk that is this state
  double val_loss_;
};

}  // namespace mixgrad::app
