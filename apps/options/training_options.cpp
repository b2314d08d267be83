#include "apps/options/training_options.h"

#include <algorithm>

#include "apps/options/option_value.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/text/suggest.h"

namespace mixgrad::app {
namespace {

constexpr RealRange kRate{.low = 0, .high = 1000};
constexpr const char* kAlone = "it belongs to a job of several processes, and this is one";

// The optimizers that have this option, in the order of their list.
std::vector<std::string> owners(const std::string& option) {
  std::vector<std::string> names;
  for (const std::string& name : optimizer_names()) {
    for (const OptimizerOption& own : optimizer_kind(name).options) {
      if (own.name == option) names.push_back(name);
    }
  }
  return names;
}

std::string optimizer_help() {
  std::string help = "Rule that changes the weights.";
  for (const std::string& name : optimizer_names()) help += " " + name + ": " + optimizer_kind(name).summary + ".";
  return help;
}

std::string schedule_help() {
  std::string help = "How the learning rate falls after the warm-up.";
  for (const std::string& name : schedule_names()) {
    help += " " + name + ": " + schedule_rule(parse_schedule(name)).summary + ".";
  }
  return help;
}

// The schedules that end at --min-lr.
std::vector<std::string> falling_schedules() {
  std::vector<std::string> names;
  for (const std::string& name : schedule_names()) {
    if (schedule_rule(parse_schedule(name)).end == ScheduleEnd::at_min_lr) names.push_back(name);
  }
  return names;
}

// Two optimizers may share an option; registry.h makes sure that they mean the same values.
void declare_optimizers(OptionSet& options, std::map<std::string, double>& values, const OptionTraits& traits) {
  for (const std::string& name : optimizer_names()) {
    for (const OptimizerOption& option : optimizer_kind(name).options) {
      const auto [value, added] = values.emplace(option.name, option.value);
      if (!added) continue;
      const RealRange range{.low = option.range.low,
                            .high = option.range.high,
                            .without_low = option.range.low_excluded,
                            .without_high = option.range.high_excluded};
      OptionTraits own = traits;
      own.depends_on = {.option = "optimizer", .values = owners(option.name)};
      options.add(option.name, value->second, range, join(owners(option.name)) + ": " + option.help, own);
    }
  }
}

}  // namespace

void TrainingOptions::declare_batch(OptionSet& options, const std::vector<std::string>& only_for) {
  options.add("batch", batch, kBatch, "Sequences of one micro-batch, of all processes of the job together",
              {.group = OptionGroup::optimisation, .only_for = only_for});
}

void TrainingOptions::declare_steps(OptionSet& options) {
  options.add("steps", steps, kCount, "Optimizer steps of the whole run; a run that is resumed may be given more",
              {.group = OptionGroup::optimisation, .on_resume = OnResume::may_grow});
}

void TrainingOptions::declare_optimisation(OptionSet& options, const std::vector<std::string>& only_for) {
  const OptionTraits traits{.group = OptionGroup::optimisation, .only_for = only_for};
  options.add("accumulate", accumulate, kCount, "Micro-batches whose gradients make one step", traits);
  options.add("lr", lr, kRate, "Learning rate after the warm-up", traits);
  OptionTraits of_falling = traits;
  of_falling.depends_on = {.option = "schedule", .values = falling_schedules()};
  options.add("min-lr", min_lr, kRate, join(falling_schedules()) + ": learning rate of the last step", of_falling);
  options.add("warmup", warmup, kCountOrNone, "Steps of linear warm-up", traits);
  options.add("schedule", schedule, schedule_names(), schedule_help(), traits);
  OptionTraits of_optimizer = traits;
  of_optimizer.absent_means = kDefaultOptimizer;  // earlier versions stored no name
  options.add("optimizer", optimizer, optimizer_names(), optimizer_help(), of_optimizer);
  declare_optimizers(options, optimizer_values, traits);
  options.add("clip", clip, kAboveZero, "Largest norm of the gradient", traits);
}

void TrainingOptions::declare_dropout(OptionSet& options) {
  options.add("dropout", dropout, {.low = 0, .high = 1, .without_high = true},
              "Share of the embedding sum, of attention probabilities, and of what mixers and MLPs add, that training "
              "leaves out; evaluation leaves out nothing",
              {.group = OptionGroup::optimisation, .absent_means = "0"});
}

void TrainingOptions::declare_recompute(OptionSet& options, const std::vector<std::string>& only_for) {
  options.add_flag(
      "recompute", recompute,
      "Compute what is inside the layers again in the backward pass instead of keeping it: less memory, more "
      "time, the same bits",
      {.group = OptionGroup::optimisation,
       .on_resume = OnResume::may_change,
       .only_for = only_for,
       .absent_means = "false"});
}

void TrainingOptions::declare_ranks(OptionSet& options, bool alone, const std::vector<std::string>& only_for) {
  OptionTraits traits{.group = OptionGroup::optimisation, .on_resume = OnResume::may_change, .only_for = only_for};
  traits.useless = useless_when([alone] { return alone; }, kAlone);
  traits.absent_means = "f32";
  options.add("reduce-dtype", reduce_dtype, {"f32", "bf16"},
              "Several processes: type in which gradients are sent; bf16: half the bytes, rounded, added up in f32",
              traits);
  traits.absent_means = "25";
  options.add("bucket-mb", bucket_mb, {1, 1024}, "Several processes: MiB of gradients that are sent in one piece",
              traits);
  traits.absent_means = "none";
  options.add(
      "shard", shard, {"none", "optimizer"},
      "Several processes: optimizer = each keeps the moments, and of a bf16 model the f32 master weights, of its "
      "share of the parameters alone, which takes less memory",
      traits);
  traits.useless = [this, alone]() -> std::string {
    if (reduce_dtype == "bf16") return "--reduce-dtype bf16 always adds in rank order";
    return alone && accumulate == 1 ? "there is one process and one micro-batch" : "";
  };
  traits.absent_means = "any";
  options.add(
      "reduce-order", reduce_order, {"any", "rank"},
      "Order in which gradients of micro-batches and processes are added. any: the quickest; rank: one by one, so "
      "that N processes give the bits of one with --accumulate N and an N-th of --batch",
      traits);
}

void declare_timeout(OptionSet& options, double& timeout, bool alone, const std::vector<std::string>& only_for) {
  options.add("timeout", timeout, {.low = 1, .high = 86400},
              "Several processes: seconds after which one that does not answer ends the job",
              {.on_resume = OnResume::not_stored,
               .useless = useless_when([alone] { return alone; }, kAlone),
               .only_for = only_for});
}

ReduceOptions TrainingOptions::reduce_options() const {
  return {.order = reduce_order == "rank" ? ReduceOrder::rank : ReduceOrder::any,
          .dtype = reduce_dtype == "bf16" ? DType::bf16 : DType::f32,
          .bucket_bytes = static_cast<std::size_t>(bucket_mb) << 20U};
}

void TrainingOptions::declare_frozen(OptionSet& options) {
  options.add_several("freeze", frozen, "Parameters that stay as they are, by name: * stands for any text",
                      {.group = OptionGroup::optimisation, .value = "PATTERN", .absent_means = ""});
  options.add_several("lr-scale", lr_scales, "Learning rates of parameters, by name: the schedule's times this factor",
                      {.group = OptionGroup::optimisation, .value = "PATTERN=FACTOR", .absent_means = ""});
}

void TrainingOptions::declare_seed(OptionSet& options) {
  options.add("seed", seed, "Seed of the initial weights and of the batches");
}

void TrainingOptions::declare_placement(OptionSet& options) {
  declare_threads(options, threads);
  placement.declare(options, {"f32", "f64", "bf16"},
                    "Type of parameters and arithmetic; bf16 keeps f32 sums, statistics and master weights");
}

void TrainingOptions::check() const {
  const bool falls = schedule_rule(parse_schedule(schedule)).end == ScheduleEnd::at_min_lr;
  if (falls && min_lr > lr)
    raise<ValueError>("--min-lr must be at most --lr (", lr, "); got ", min_lr, "; give a smaller --min-lr");
  if (reduce_dtype == "bf16" && placement.precision == "f64") {
    raise<ValueError>("--reduce-dtype bf16 needs gradients in f32; got --precision f64; leave it out");
  }
}

OptimizerSettings TrainingOptions::optimizer_settings() const {
  OptimizerSettings settings{.name = optimizer, .clip = clip, .learning_rate = lr};
  for (const OptimizerOption& option : optimizer_kind(optimizer).options) {
    settings.values[option.name] = optimizer_values.at(option.name);
  }
  return settings;
}

}  // namespace mixgrad::app
