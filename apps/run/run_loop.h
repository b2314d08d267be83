// The loop of a training run: steps, checkpoints, evaluations, and every way to end. The steps themselves are a
// Trainer's (nn/training/trainer.h), what the user reads is RunReport's, when there is something to do RunSchedule's.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/generation/prompt.h"
#include "apps/options/training_options.h"
#include "apps/process/core_watch.h"
#include "apps/run/early_stop.h"
#include "apps/run/run_data.h"
#include "apps/run/run_report.h"
#include "apps/run/run_schedule.h"
#include "nn/training/checkpoint.h"
#include "nn/training/train_step.h"
#include "nn/training/trainer.h"

namespace mixgrad::app {

// The sample at the end of a run.
struct SampleOptions {
  std::int64_t tokens = 400;  // 0 = none
  double temperature = 0.8;
  std::string prompt;  // "" = default_prompt

  // ValueError for a prompt that the vocabulary cannot express.
  Prompt start(const Tokenizer& tokenizer) const;
};

// How a run is saved and reported, and what it minimises.
struct RunOptions {
  std::filesystem::path out;    // the run's folder
  std::filesystem::path trace;  // where a trace of the first step is written; "" = nowhere
  std::int64_t stop_after = 0, eval_every = 500, save_every = 500, log_every = 10;
  std::int64_t skip_nonfinite = 0;
  EarlyStop early_stop;
  SampleOptions sample;
  bool json = false;
  const Objective* objective = nullptr;  // null: the model's loss
  Communicator* ranks = nullptr;         // of a job of several processes; null: this process alone

  RunSchedule schedule(std::int64_t steps) const;  // of a run of so many steps
};

class RunLoop {
 public:
  // Continues from `state`; `optimizer` belongs to the model.
  RunLoop(Decoder& model, const RunData& data, Optimizer& optimizer, const TrainingOptions& training,
          const RunOptions& options, TrainerState state);

  // An exit code. Ends at the last step, by --stop-after, --early-stop, a signal, or a number that is not finite.
  int run();

 private:
  enum class Steps : std::uint8_t { done, not_finite };
  enum class After : std::uint8_t { next_step, stop_early, failed };

  Steps run_to_next_stop();
  void skip_batch();
  void install_product_choices();
  void trace_step(Trainer::ProductAlgorithms products);
  void save();   // rank 0 writes the checkpoint; all ranks compare their weights before and meet after it
  void write();  // writes a checkpoint; other ranks take no part
  int stop_requested() const;
  void log(const std::optional<RunData::Validation>& validation = {});
  bool leads() const { return options_.ranks == nullptr || options_.ranks->leads(); }
  StepRanks own_rows() const;
  After evaluate_and_log();
  void record_evaluation(double val_loss);
  bool validates() const { return data_.validates(); }
  int finish(After after);
  bool complete() const { return sampling_ && state_.step == training_.steps; }
  int stop_interrupted(int signal);
  int stop_not_finite();

  Decoder& model_;
  const RunData& data_;
  Optimizer& optimizer_;
  const TrainingOptions& training_;
  const RunOptions& options_;
  TrainerState state_;
  RunSchedule schedule_;
  Rng rng_;                       // with which the next step draws its batch
  bool records_product_choices_;  // a new run on a CUDA device: its checkpoints hold what its first step chose
  std::unique_ptr<Trainer> trainer_;
  RunReport report_;
  CoreWatch cores_;
  std::optional<std::int64_t> saved_step_;         // the generation on disk that is this state
  std::optional<RunData::Validation> validation_;  // the last
  bool evaluated_ = false;                         // by this command, or its evaluation left out with --valid none
  bool sampling_ = false;                          // all is saved, and the sample at the end is being printed
};

}  // namespace mixgrad::app
