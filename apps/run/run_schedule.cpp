#include "apps/run/run_schedule.h"

#include <algorithm>

namespace mixgrad::app {

std::int64_t RunSchedule::next_stop(std::int64_t step) const {
  std::int64_t stop = last;
  for (const std::int64_t every : {log_every, eval_every, save_every}) {
    if (every > 0) stop = std::min(stop, (step / every + 1) * every);
  }
  return stop;
}

std::int64_t RunSchedule::saves_after(std::int64_t step) const {
  const auto passes = [&](std::int64_t every) { return every > 0 ? last / every - step / every : 0; };
  return std::max<std::int64_t>({passes(save_every), passes(eval_every), 1});
}

}  // namespace mixgrad::app
