#include "nn/training/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace mixgrad {

double Schedule::at(std::int64_t step) const {
  if (step < warmup) return lr * static_cast<double>(step + 1) / static_cast<double>(warmup);
  const std::int64_t decay_from = kind == ScheduleKind::cosine ? warmup : std::max(warmup, steps - steps / 5);
  if (step < decay_from) return lr;
  const double length = static_cast<double>(std::max<std::int64_t>(steps - decay_from, 1));
  const double progress = std::min(1.0, static_cast<double>(step - decay_from) / length);
  const double weight =
      kind == ScheduleKind::cosine ? 0.5 * (1.0 + std::cos(std::numbers::pi * progress)) : 1.0 - progress;
  return min_lr + (lr - min_lr) * weight;
}

ScheduleKind parse_schedule(const std::string& name) {
  if (name == "cosine") return ScheduleKind::cosine;
  if (name == "wsd") return ScheduleKind::wsd;
  raise<ValueError>("schedule: must be cosine or wsd, got '", name, "'");
}

}  // namespace mixgrad
