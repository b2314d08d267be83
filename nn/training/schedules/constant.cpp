#include "nn/training/schedule.h"

namespace mixgrad::schedules {

// lr in every step after the warm-up.
extern const ScheduleRule constant{.summary = "the full rate to the end",
                                   .learning_rate = [](const Schedule& schedule, std::int64_t) { return schedule.lr; },
                                   .end = ScheduleEnd::at_lr};

}  // namespace mixgrad::schedules
