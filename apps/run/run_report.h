// What a training run tells its user: logged steps with their speed, and the messages with which it ends.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "apps/run/progress.h"
#include "apps/run/run_data.h"
#include "nn/training/trainer_state.h"

namespace mixgrad::app {

class RunReport {
 public:
  // Lines go to the file `metrics`; `out` is the run's folder; tokens are counted for the speed; `objective` as StepLog
  // has it. IoError when metrics.jsonl cannot be opened.
  RunReport(const std::filesystem::path& metrics, const std::filesystem::path& out, std::int64_t first_step,
            std::int64_t last_step, std::int64_t tokens_per_step, bool json, std::string objective = {});

  // The speed is that of the steps since the last log(), without the time that pause() adds.
  void start_clock();
  void pause(double seconds) { window_start_ += seconds; }
  double tokens_per_s(std::int64_t more_steps);  // after these further steps

  void log(std::int64_t step, const TrainerState::Last& last, const std::optional<RunData::Validation>& validation);

  // Each ends the live line and prints to stderr.
  void note(const std::string& sentence);  // nothing for an empty one
  void skipped(const TrainerState& state, std::int64_t step, std::int64_t allowed);
  void not_finite(const TrainerState& state, const std::string& explanation);
  void validation_not_finite(const TrainerState& state, double val_loss);
  void interrupted(const TrainerState& state, const char* signal, bool complete);
  void stopped_early(const TrainerState& state);
  void nothing_to_do(const TrainerState& state);
  void finished(const TrainerState& state, const std::optional<RunData::Validation>& validation,
                std::size_t peak_bytes);
  void end_line() { progress_.finish(); }

 private:
  std::filesystem::path out_;
  std::int64_t last_step_, tokens_per_step_;
  Progress progress_;
  std::string objective_;
  double window_start_ = 0;  // seconds, and the steps since
  std::int64_t window_steps_ = 0;
};

}  // namespace mixgrad::app
