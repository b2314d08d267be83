// What `train --plan` prints: the memory that a run needs.
#pragma once

#include "apps/options/distill_options.h"
#include "apps/options/training_options.h"
#include "apps/output/table.h"
#include "nn/config/model_config.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad::app {

struct PlannedModel {
  ModelConfig config;
  TokenizerPtr tokenizer;  // compared with a teacher's; null where there is none
  int processes = 1;       // of the job; `training.batch` is what one of them runs
};

// Of a run that trains such a model and keeps at most `checkpoints` of them on disk at a time. Reads configuration and
// tokenizer of a teacher. OutOfMemory as plan_training; ValueError for a teacher that does not fit (check_teacher).
void print_training_plan(const PlannedModel& planned, const TrainingOptions& training, const DistillSettings& distill,
                         std::int64_t checkpoints, Format format);

}  // namespace mixgrad::app
