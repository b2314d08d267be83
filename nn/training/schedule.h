// The learning rate of step t in [0, steps): a linear warm-up, then one of the schedules of schedules.def.
//
//   const Schedule schedule{
//       .kind = parse_schedule("cosine"), .lr = 1e-3, .min_lr = 1e-4, .warmup = 100, .steps = 1000};
//   schedule.at(0);   // 1e-5
//
// A decay over n steps has lr in its first step and min_lr in its last: step i of it has done i / (n - 1) of the way. A
// decay of one step has min_lr.
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
  std::int64_t steps = 1;   // of the whole run, at least 1

  double at(std::int64_t step) const;

  // For the schedules: how much of a decay that begins at step `begin` is done: 0 there, 1 in the last step of the run
  // and after it.
  double fraction_done(std::int64_t step, std::int64_t begin) const;
  // For the schedules: exactly lr at weight 1, exactly min_lr at weight 0, linear between them.
  double between(double weight) const { return lr * weight + min_lr * (1.0 - weight); }
};

// Whether a schedule falls to min_lr, or never uses it.
enum class ScheduleEnd : std::uint8_t { at_min_lr, at_lr };

// What a file of nn/training/schedules/ defines, under its name in schedules.def.
struct ScheduleRule {
  const char* summary;                                                   // a few words for --help
  double (*learning_rate)(const Schedule& schedule, std::int64_t step);  // for steps after the warm-up
  ScheduleEnd end = ScheduleEnd::at_min_lr;
};

std::vector<std::string> schedule_names();
const ScheduleRule& schedule_rule(ScheduleKind kind);  // ValueError for a number that is none of the list
ScheduleKind parse_schedule(const std::string& name);  // ValueError that lists the names

}  // namespace mixgrad
