// Learning rate of step t in [0, steps): linear warm-up, then
//   cosine  half a cosine from lr to min_lr over the rest
//   wsd     lr until the last fifth of the steps, then linear to min_lr (warm-up, stable, decay)
#pragma once

#include <cstdint>
#include <string>

namespace mixgrad {

enum class ScheduleKind : std::uint8_t { cosine, wsd };

struct Schedule {
  ScheduleKind kind = ScheduleKind::cosine;
  double lr = 1e-3;
  double min_lr = 1e-4;
  std::int64_t warmup = 0;  // steps
  std::int64_t steps = 1;   // of the whole run

  double at(std::int64_t step) const;
};

ScheduleKind parse_schedule(const std::string& name);  // ValueError naming what is allowed

}  // namespace mixgrad
