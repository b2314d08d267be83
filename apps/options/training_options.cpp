#include "apps/options/training_options.h"

#include <sstream>

#include "apps/options/option_value.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/text/suggest.h"

namespace mixgrad::app {
namespace {

constexpr RealRange kRate{.low = 0, .high = 1000};
constexpr RealRange kBelowOne{.low = 0, .high = 1, .without_high = true};

}  // namespace

EarlyStop parse_early_stop(const std::string& text) {
  EarlyStop stop;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    const std::string key = part.substr(0, part.find('='));
    const std::string value = part.size() > key.size() ? part.substr(key.size() + 1) : "";
    if (key == "patience") {
      stop.patience = parse_integer("--early-stop patience", value, kCount);
    } else if (key == "min-delta") {
      stop.min_delta = parse_real("--early-stop min-delta", value, {});
    } else {
      raise<ValueError>("--early-stop must be patience=COUNT or patience=COUNT,min-delta=NUMBER; got ", quote(key),
                        "; ", did_you_mean(key, {"patience", "min-delta"}),
                        "write for example patience=5,min-delta=0.001");
    }
  }
  if (!text.empty() && stop.patience == 0) {
    raise<ValueError>("--early-stop needs patience=COUNT; got ", quote(text), "; add it");
  }
  return stop;
}

void TrainingOptions::declare_batch(OptionSet& options, const std::vector<std::string>& only_for) {
  options.add("batch", batch, kBatch, "Sequences of one micro-batch",
              {.group = OptionGroup::optimisation, .only_for = only_for});
}

void TrainingOptions::declare_steps(OptionSet& options) {
  options.add("steps", steps, kCount, "Optimizer steps of the whole run", {.group = OptionGroup::optimisation});
}

void TrainingOptions::declare_optimisation(OptionSet& options, const std::vector<std::string>& only_for) {
  const OptionTraits traits{.group = OptionGroup::optimisation, .only_for = only_for};
  options.add("accumulate", accumulate, kCount, "Micro-batches whose gradients make one step", traits);
  options.add("lr", lr, kRate, "Learning rate after the warm-up", traits);
  options.add("min-lr", min_lr, kRate, "Learning rate at the end", traits);
  options.add("warmup", warmup, kCountOrNone, "Steps of linear warm-up", traits);
  options.add("schedule", schedule, {"cosine", "wsd"}, "How the learning rate falls: cosine, or constant then linear",
              traits);
  options.add("weight-decay", weight_decay, kRate, "AdamW weight decay of matrices and tables", traits);
  options.add("beta1", beta1, kBelowOne, "Decay rate of AdamW's first moment", traits);
  options.add("beta2", beta2, kBelowOne, "Decay rate of AdamW's second moment", traits);
  options.add("eps", eps, {.low = 1e-30, .high = 1}, "AdamW epsilon", traits);
  options.add("clip", clip, kAboveZero, "Largest norm of the gradient", traits);
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
  if (min_lr > lr)
    raise<ValueError>("--min-lr must be at most --lr (", lr, "); got ", min_lr, "; give a smaller --min-lr");
}

}  // namespace mixgrad::app
