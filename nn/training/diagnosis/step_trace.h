// One training step, operator by operator, as a file for chrome://tracing and ui.perfetto.dev.
//
//   const std::size_t operators = write_step_trace("step.json", model, *optimizer, data, Rng(1), {.batch = 12});
//
// The step is run twice, and the second time is shown. It draws its batch with `rng` and leaves parameters, optimizer
// and rng as they are: forward and backward of each micro-batch, without the update. Each operator has its name, the
// shapes of its outputs, or of the gradients that it computed, and their bytes. An operator lasts from the end of the
// one before it, so what the host does between two belongs to the second; that of a teacher, which records nothing,
// to the first.
//
// On a CUDA device the kernels are launched one by one, since a captured step shows no operators, and timed by events;
// each operator is an NVTX range too, so that Nsight Systems shows its kernels under its name.
#pragma once

#include <cstddef>
#include <filesystem>

#include "nn/training/train_step.h"
#include "nn/training/trainer.h"

namespace mixgrad {

struct StepTraceOptions {
  std::int64_t batch = 1, accumulate = 1;
  StepDropout dropout = {};
  Intermediates intermediates = Intermediates::kept;
  const Objective* objective = nullptr;  // what is minimised in place of the model's loss
  Trainer::ProductAlgorithms products = Trainer::ProductAlgorithms::from_library;  // timed in the first of the two runs
};

// Returns how many operators it shows, forward and backward. ValueError for data whose documents are cut apart, and for
// an objective that runs layers by themselves; IoError when the file cannot be written. Takes the memory of a step
// beside a trainer's.
std::size_t write_step_trace(const std::filesystem::path& file, Decoder& model, Optimizer& optimizer,
                             const BatchStream& data, Rng rng, const StepTraceOptions& options);

}  // namespace mixgrad
