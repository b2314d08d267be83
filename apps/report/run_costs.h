// What a run costs: memory of a training step, bytes on disk, seconds of training done and to come.
#pragma once

#include <cstdint>
#include <optional>

#include "apps/report/run_record.h"
#include "nn/training/memory_plan.h"

namespace mixgrad::app {

struct RunCosts {
  // Of a training step on the CPU in the run's precision (nn/training/memory_plan.h); none for a step of more than
  // kMostPlannedOperations, for a run with a teacher, whose files may be gone, and without a known optimizer.
  std::optional<MemoryPlan> plan;
  std::uintmax_t generation = 0;  // bytes on disk of what the newest stored generation is resumed from
  double seconds = 0;             // of training steps so far
  double seconds_left = 0;        // of the steps to come, at the median pace of those done; NaN when none was timed
};

inline constexpr double kMostPlannedOperations = 2e11;  // of a forward pass of a batch; it takes seconds to plan
RunCosts run_costs(const RunRecord& run);

}  // namespace mixgrad::app
