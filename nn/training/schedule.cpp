#include "nn/training/schedule.h"

#include <algorithm>

#include "core/error.h"
#include "core/text/suggest.h"

namespace mixgrad {

namespace schedules {
#define SCHEDULE(name) extern const ScheduleRule name;
#include "nn/training/schedules/schedules.def"
#undef SCHEDULE
}  // namespace schedules

double Schedule::at(std::int64_t step) const {
  if (step < warmup) return lr * static_cast<double>(step + 1) / static_cast<double>(warmup);
  return schedule_rule(kind).learning_rate(*this, step);
}

double Schedule::fraction_done(std::int64_t step, std::int64_t begin) const {
  const std::int64_t last = steps - 1;
  if (step >= last) return 1.0;
  return static_cast<double>(step - begin) / static_cast<double>(last - begin);
}

std::vector<std::string> schedule_names() {
  return {
#define SCHEDULE(name) #name,
#include "nn/training/schedules/schedules.def"
#undef SCHEDULE
  };
}

const ScheduleRule& schedule_rule(ScheduleKind kind) {
  switch (kind) {
#define SCHEDULE(name)     \
  case ScheduleKind::name: \
    return schedules::name;
#include "nn/training/schedules/schedules.def"
#undef SCHEDULE
  }
  raise<ValueError>("schedule: the kind must be one of ", join(schedule_names()), "; got the number ",
                    static_cast<int>(kind));
}

ScheduleKind parse_schedule(const std::string& name) {
  const std::vector<std::string> names = schedule_names();
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return static_cast<ScheduleKind>(i);  // both lists are schedules.def
  }
  raise<ValueError>("schedule: must be one of ", join(names), "; got ", quote(name), "; ", did_you_mean(name, names),
                    "choose one of them");
}

}  // namespace mixgrad
