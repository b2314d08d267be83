#include <cmath>
#include <numbers>

#include "nn/training/schedule.h"

namespace mixgrad::schedules {

// Half a cosine from lr to min_lr over all steps after the warm-up.
extern const ScheduleRule cosine{.summary = "half a cosine from the full rate to the lowest",
                                 .learning_rate = [](const Schedule& schedule, std::int64_t step) {
                                   const double progress = schedule.fraction_done(step, schedule.warmup);
                                   return schedule.between(0.5 * (1.0 + std::cos(std::numbers::pi * progress)));
                                 }};

}  // namespace mixgrad::schedules
