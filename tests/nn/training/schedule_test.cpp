// The learning rate of each step, every schedule of the list; what is not a schedule is refused.
#include "nn/training/schedule.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <sstream>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/text/suggest.h"
#include "tests/support/close.h"

namespace mixgrad::test {
namespace {

// |got - want| <= tolerance |want|, in words.
std::string rate_off(double got, double want, double tolerance) {
  if (std::abs(got - want) <= tolerance * std::abs(want)) return {};
  std::ostringstream text;
  text.precision(17);
  text << got << ", must be " << want;
  return text.str();
}

TEST_CASE("schedule: warm-up rises linearly from lr / warmup to lr") {
  for (const std::string& name : schedule_names()) {
    const ScheduleKind kind = parse_schedule(name);
    const Schedule s{kind, 0.8, 0.1, 4, 100};
    CHECK(rate_off(s.at(0), 0.2, 1e-15) == kHolds);
    CHECK(rate_off(s.at(1), 0.4, 1e-15) == kHolds);
    CHECK(rate_off(s.at(3), 0.8, 1e-15) == kHolds);
    CHECK(rate_off(s.at(4), 0.8, 1e-15) == kHolds);
    const Schedule none{kind, 0.8, 0.1, 0, 100};
    CHECK(none.at(0) == 0.8);
  }
}

TEST_CASE("schedule: cosine falls from lr to min_lr, half way in the middle") {
  const Schedule s{ScheduleKind::cosine, 1, 0.2, 20, 100};
  CHECK(s.at(20) == 1);
  CHECK(rate_off(s.at(98), 0.2 + 0.4 * (1 - std::cos(std::numbers::pi / 79)), 1e-12) == kHolds);
  CHECK(s.at(99) == 0.2);
  CHECK(s.at(100) == 0.2);
  CHECK(rate_off(s.at(1000), 0.2, 1e-15) == kHolds);
  for (std::int64_t t = 20; t < 99; ++t) CHECK(s.at(t + 1) < s.at(t));
  const Schedule odd{ScheduleKind::cosine, 1, 0.2, 20, 101};  // 81 steps of decay
  CHECK(rate_off(odd.at(60), 0.6, 1e-14) == kHolds);
  CHECK(rate_off(odd.at(40), 0.2 + 0.8 * (0.5 + std::sqrt(2) / 4), 1e-14) == kHolds);
}

TEST_CASE("schedule: wsd stays at lr until the last fifth, then falls linearly") {
  const Schedule s{ScheduleKind::wsd, 1, 0.2, 10, 100};
  CHECK(s.at(10) == 1);
  CHECK(s.at(79) == 1);
  CHECK(s.at(80) == 1);  // the first step of the decay
  CHECK(rate_off(s.at(81), 1 - 0.8 / 19, 1e-15) == kHolds);
  CHECK(rate_off(s.at(98), 0.2 + 0.8 / 19, 1e-14) == kHolds);
  CHECK(s.at(99) == 0.2);
  CHECK(s.at(100) == 0.2);
  CHECK(rate_off(s.at(500), 0.2, 1e-15) == kHolds);
}

// The first step of the decay has lr and the last min_lr, exactly, whatever the lengths.
TEST_CASE("schedule: both ends of every decay are exact, and a decay of one step has min_lr") {
  for (const std::int64_t steps : {1, 2, 3, 4, 5, 6, 9, 10, 11, 20, 99, 100, 101, 2500}) {
    for (const std::int64_t warmup : {std::int64_t{0}, std::int64_t{1}, steps / 2, steps - 2, steps - 1}) {
      if (warmup < 0 || warmup >= steps) continue;
      CAPTURE(steps);
      CAPTURE(warmup);
      const Schedule cosine{ScheduleKind::cosine, 0.7, 0.1, warmup, steps};
      CHECK(cosine.at(steps - 1) == 0.1);
      CHECK(cosine.at(warmup) == (steps - warmup == 1 ? 0.1 : 0.7));
      const Schedule wsd{ScheduleKind::wsd, 0.7, 0.1, warmup, steps};
      const std::int64_t from = std::max(warmup, steps - std::max<std::int64_t>(steps / 5, 1));
      CHECK(wsd.at(steps - 1) == 0.1);
      CHECK(wsd.at(from) == (steps - from == 1 ? 0.1 : 0.7));
      for (std::int64_t t = warmup; t < from; ++t) CHECK(wsd.at(t) == 0.7);
      for (std::int64_t t = from + 1; t < steps; ++t) CHECK(wsd.at(t) < wsd.at(t - 1));
      const Schedule constant{ScheduleKind::constant, 0.7, 0.1, warmup, steps};
      for (std::int64_t t = warmup; t < steps + 2; ++t) CHECK(constant.at(t) == 0.7);
    }
  }
}

TEST_CASE("schedule: fewer steps than warm-up, one step, and a warm-up into the decay stay within (0, lr]") {
  for (const std::string& name : schedule_names()) {
    const ScheduleKind kind = parse_schedule(name);
    const Schedule brief{kind, 1, 0.1, 10, 5};
    for (std::int64_t t = 0; t < 5; ++t)
      CHECK(rate_off(brief.at(t), 0.1 * static_cast<double>(t + 1), 1e-14) == kHolds);
    for (const auto& [warmup, steps] : {std::pair{0, 1}, std::pair{1, 1}, std::pair{95, 100}, std::pair{100, 100}}) {
      const Schedule s{kind, 1, 0.1, warmup, steps};
      for (std::int64_t t = 0; t < steps + 2; ++t) {
        CHECK(std::isfinite(s.at(t)));
        CHECK(s.at(t) > 0);
        CHECK(s.at(t) <= 1);
      }
    }
    CHECK(Schedule{kind, 1, 0.1, 0, 1}.at(0) == (schedule_rule(kind).end == ScheduleEnd::at_lr ? 1 : 0.1));
  }
}

TEST_CASE("schedule: names and kinds belong together, and every schedule says what it is") {
  CHECK(parse_schedule("cosine") == ScheduleKind::cosine);
  CHECK(parse_schedule("wsd") == ScheduleKind::wsd);
  for (const std::string& name : schedule_names()) {
    CHECK(std::string(schedule_rule(parse_schedule(name)).summary).size() > 10);
  }
}

TEST_CASE("schedule: an unknown name or kind is refused, never taken for another") {
  const std::string names = join(schedule_names());
  CHECK(error_text<ValueError>([] { parse_schedule("xyzzy"); }) ==
        "schedule: must be one of " + names + "; got \"xyzzy\"; choose one of them");
  CHECK(error_text<ValueError>([] { parse_schedule("cosin"); }) ==
        "schedule: must be one of " + names + "; got \"cosin\"; did you mean \"cosine\"? choose one of them");
  const Schedule broken{.kind = static_cast<ScheduleKind>(200), .warmup = 2, .steps = 10};
  CHECK(error_text<ValueError>([&] { broken.at(5); }) ==
        "schedule: the kind must be one of " + names + "; got the number 200");
}

}  // namespace
}  // namespace mixgrad::test
