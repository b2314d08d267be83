#include <algorithm>

#include "nn/training/schedule.h"

namespace mixgrad::schedules {

// Warm-up, stable, decay: lr until the last fifth of the steps (at least one), then linear to min_lr.
extern const ScheduleRule wsd{.summary = "the full rate, then in the last fifth of the steps linear to the lowest",
                              .learning_rate = [](const Schedule& schedule, std::int64_t step) {
                                const std::int64_t decay = std::max<std::int64_t>(schedule.steps / 5, 1);
                                const std::int64_t decay_from = std::max(schedule.warmup, schedule.steps - decay);
                                if (step < decay_from) return schedule.lr;
                                return schedule.between(1.0 - schedule.fraction_done(step, decay_from));
                              }};

}  // namespace mixgrad::schedules
