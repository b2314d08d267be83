#include "apps/training_options.h"

#include "core/error.h"
#include "core/parallel.h"

namespace mixgrad::app {

void TrainingOptions::declare(OptionSet& options) {
  options.add("batch", batch, "Sequences of one micro-batch");
  options.add("steps", steps, "Optimizer steps of the whole run");
  options.add("accumulate", accumulate, "Micro-batches whose gradients make one step");
  options.add("lr", lr, "Learning rate after the warm-up");
  options.add("min-lr", min_lr, "Learning rate at the end");
  options.add("warmup", warmup, "Steps of linear warm-up");
  options.add("schedule", schedule, {"cosine", "wsd"}, "How the learning rate falls: cosine, or constant then linear");
  options.add("weight-decay", weight_decay, "AdamW weight decay of matrices and tables");
  options.add("beta1", beta1, "AdamW first moment");
  options.add("beta2", beta2, "AdamW second moment");
  options.add("eps", eps, "AdamW epsilon");
  options.add("clip", clip, "Largest norm of the gradient");
  options.add("seed", seed, "Seed of weights and batches");
  options.add("threads", threads, "Threads; 0 = all cores. The result does not depend on it");
  options.add("precision", precision, {"f32", "f64"}, "Type of parameters and arithmetic");
}

void TrainingOptions::check() const {
  const auto at_least = [](const char* name, std::int64_t value, std::int64_t low) {
    if (value < low) raise<ValueError>("--", name, " must be at least ", low, ", got ", value);
  };
  at_least("batch", batch, 1);
  at_least("steps", steps, 1);
  at_least("accumulate", accumulate, 1);
  at_least("warmup", warmup, 0);
  at_least("threads", threads, 0);
  if (!(lr >= 0)) raise<ValueError>("--lr must be at least 0, got ", lr);
  if (!(min_lr >= 0 && min_lr <= lr)) raise<ValueError>("--min-lr must be in [0, --lr ", lr, "], got ", min_lr);
}

void TrainingOptions::apply_threads() const {
  if (threads < 0) raise<ValueError>("--threads must be at least 0 (0 = all cores), got ", threads);
  if (threads > 0) set_threads(static_cast<int>(threads));
}

DType TrainingOptions::dtype() const { return precision == "f64" ? DType::f64 : DType::f32; }

}  // namespace mixgrad::app
