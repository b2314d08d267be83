// The options of a training run beyond the model: shared by train and bench.
#pragma once

#include "apps/options/option_set.h"
#include "apps/options/placement_options.h"
#include "nn/training/optimizers/registry.h"
#include "nn/training/trainer.h"

namespace mixgrad::app {

// Of a verb whose processes work together in a job: seconds that one of them waits for another. `alone`: there is one
// process. `only_for` as in OptionTraits.
inline constexpr double kTimeout = 300;
void declare_timeout(OptionSet& options, double& timeout, bool alone, const std::vector<std::string>& only_for = {});

struct TrainingOptions {
  std::int64_t batch = 12, steps = 1000, accumulate = 1, warmup = 100, threads = 0;
  double lr = 1e-3, min_lr = 1e-4, clip = 1.0;
  std::string schedule = "cosine";
  std::string optimizer = kDefaultOptimizer;
  std::map<std::string, double> optimizer_values;  // of the options of all optimizers
  PlacementOptions placement;
  std::uint64_t seed = 1;
  double dropout = 0;
  std::string reduce_dtype = "f32", reduce_order = "any";
  std::int64_t bucket_mb = 25;
  std::string shard = "none";
  double timeout = kTimeout;  // seconds
  bool recompute = false;
  std::vector<std::string> frozen;     // patterns of parameter names (nn/modules/freeze.h)
  std::vector<std::string> lr_scales;  // nn/modules/lr_scale.h

  // A verb declares the parts that it uses; `only_for` as in OptionTraits.
  void declare_batch(OptionSet& options, const std::vector<std::string>& only_for = {});
  void declare_steps(OptionSet& options);
  void declare_optimisation(OptionSet& options, const std::vector<std::string>& only_for = {});
  void declare_dropout(OptionSet& options);
  void declare_recompute(OptionSet& options, const std::vector<std::string>& only_for = {});
  void declare_frozen(OptionSet& options);
  // How the processes of a job add gradients and divide the state; `alone`: there is one.
  void declare_ranks(OptionSet& options, bool alone, const std::vector<std::string>& only_for = {});
  void declare_seed(OptionSet& options);
  void declare_placement(OptionSet& options);
  void check() const;  // ValueError for options that do not fit together
  Context context() const { return placement.context(threads); }
  Placement model_placement() const { return placement.model_placement(); }
  OptimizerSettings optimizer_settings() const;
  Trainer::Options trainer_options() const {
    return {.batch = batch,
            .accumulate = accumulate,
            .schedule = schedule_values(),
            .dropout = dropout_mask(),
            .intermediates = intermediates()};
  }
  ReduceOptions reduce_options() const;
  Intermediates intermediates() const { return recompute ? Intermediates::recomputed : Intermediates::kept; }
  DropoutMask dropout_mask() const { return DropoutMask::of(dropout, seed); }
  Schedule schedule_values() const { return {parse_schedule(schedule), lr, min_lr, warmup, steps}; }
};

}  // namespace mixgrad::app
