// The learning rate of step t in [0, steps): a linear warm-up, then one of the schedules of schedules.def.
//
//   const Schedule schedule{.kind = parse_schedule("cosine"), .lr = 1e-3, .min_lr = 1e-4, .warmup = 100, .steps =
//   1000}; schedule.at(0);   // 1e-5
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mixgrad {

enum class ScheduleKind : std::uint8_t {
#define SCHEDULE(name) name,
#include "nn/training/schedules/schedules.def"
#undef SCHEDULE
};

struct Schedule {
  ScheduleKind kind = ScheduleKind::cosine;
  double lr = 1e-3;
  double min_lr = 1e-4;
  std::int64_t warmup = 0;  // steps
  std::int64_t steps = 1;   // of the whole run

  double at(std::int64_t step) const;

  // For the schedules: how much of the way from step `begin` to the last step is done, in [0, 1].
  double fraction_done(std::int64_t step, std::int64_t begin) const;
  // For the schedules: lr at weight 1, min_lr at weight 0, linear between them.
  double between(double weight) const { return min_lr + (lr - min_lr) * weight; }
};

// What a file of nn/training/schedules/ defines, under its name in schedules.def.
struct ScheduleRule {
  const char* summary;                                                   // a few words for --help
  double (*learning_rate)(const Schedule& schedule, std::int64_t step);  // for steps after the warm-up
};

std::vector<std::string> schedule_names();
const ScheduleRule& schedule_rule(ScheduleKind kind);  // ValueError for a number that is none of the list
ScheduleKind parse_schedule(const std::string& name);  // ValueError that lists the names

}  // namespace mixgrad
