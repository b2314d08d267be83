// The runs of a sweep, each a process of its own, several at a time; a sweep that was stopped goes on where its runs
// are.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "apps/sweep/sweep_plan.h"

namespace mixgrad::app {

struct SweepOptions {
  std::string config;              // its path
  std::string out;                 // the folder of the runs
  std::int64_t jobs = 1;           // at a time
  std::set<std::string> of_bench;  // options that `bench train` has, for costs()
};

// What one run costs, as far as can be told before it starts.
struct SweepCost {
  double minutes = 0;       // by three timed steps; without evaluations
  std::uint64_t bytes = 0;  // of tensors, at most
};

class Sweep {
 public:
  // Reads the config file and, where `out` is there, what it holds. ValueError when `out` holds the runs of another
  // config file; IoError.
  explicit Sweep(SweepOptions options);

  const std::vector<SweepRun>& runs() const { return runs_; }
  std::string folder(const SweepRun& run) const;
  bool is_done(const SweepRun& run) const;  // reached its last step, or ended early by --early-stop

  // Has `train --plan` check the options of every run that is not done. ValueError with what it said of the first that
  // is wrong.
  void check() const;
  // Of each run; runs that differ by their seed alone are timed once.
  std::vector<SweepCost> costs() const;

  // Runs all that are not done; says on stderr what begins and ends. Returns the names of those that failed, whose log
  // is FOLDER.log. Interrupted (core/system/interrupt.h) when a stop was requested: the runs under way have saved then.
  std::vector<std::string> run() const;

 private:
  void write_state() const;
  std::vector<std::string> command(const SweepRun& run) const;

  SweepOptions options_;
  std::vector<SweepRun> runs_;
};

}  // namespace mixgrad::app
