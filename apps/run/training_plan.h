// What `train --plan` prints: the memory that a run needs.
#pragma once

#include "apps/options/distill_options.h"
#include "apps/options/training_options.h"
#include "apps/output/table.h"
#include "nn/config/model_config.h"

namespace mixgrad::app {

// Of a run that trains a model of this configuration and keeps at most `checkpoints` of them on disk at a time. Reads
// the configuration of a teacher. OutOfMemory as plan_training.
void print_training_plan(const ModelConfig& config, const TrainingOptions& training, const DistillSettings& distill,
                         std::int64_t checkpoints, Format format);

}  // namespace mixgrad::app
