// At which steps a run logs, saves and evaluates. A step is counted when it is done: 0 before the first.
#pragma once

#include <cstdint>

namespace mixgrad::app {

struct RunSchedule {
  std::int64_t steps = 1;  // of the whole run
  std::int64_t last = 1;   // at which this command ends: steps, or --stop-after
  std::int64_t log_every = 10, eval_every = 500, save_every = 500;  // 0: never but at the end

  bool logs_at(std::int64_t step) const { return due(log_every, step); }
  bool evaluates_at(std::int64_t step) const { return step == last || due(eval_every, step); }
  // An evaluation that only --stop-after caused counts neither for the best nor for --early-stop: the run would not
  // continue as if it had never stopped.
  bool evaluation_counts_at(std::int64_t step) const { return step == steps || due(eval_every, step); }
  // Before each evaluation too: one that fails or is interrupted loses nothing.
  bool saves_at(std::int64_t step) const { return evaluates_at(step) || due(save_every, step); }

  // The first step after `step` at which there is something to do.
  std::int64_t next_stop(std::int64_t step) const;
  // How many checkpoints are written after `step`, counting no step twice; at least one.
  std::int64_t saves_after(std::int64_t step) const;

 private:
  static bool due(std::int64_t every, std::int64_t step) { return every > 0 && step % every == 0; }
};

}  // namespace mixgrad::app
