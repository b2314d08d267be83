#include "apps/process/core_watch.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <utility>

#include "apps/output/clock.h"

namespace mixgrad::app {
namespace {

constexpr double kWindow = 1.5;  // seconds
constexpr std::int64_t kFewestSteps = 4;
constexpr double kBusy = 0.25;  // seconds of waiting in each second; an idle machine shows none

// Seconds that this process's threads were ready to run and had no core.
double seconds_waited() {
  double waited = 0;
  std::error_code error;
  for (auto task = std::filesystem::directory_iterator("/proc/self/task", error);
       !error && task != std::filesystem::directory_iterator(); task.increment(error)) {
    std::ifstream file(task->path() / "schedstat");
    double ran = 0;
    double delay = 0;
    if (file >> ran >> delay) waited += delay * 1e-9;
  }
  return waited;
}

}  // namespace

std::string CoreWatch::after_step() {
  if (threads_ < 2) return {};
  if (++steps_ == 1) {  // the step that takes its memory is not counted
    start_ = now();
    waited_ = seconds_waited();
    return {};
  }
  const double seconds = now() - start_;
  if (steps_ <= kFewestSteps || seconds < kWindow) return {};
  const double waiting = (seconds_waited() - waited_) / seconds;
  const int all = std::exchange(threads_, 0);  // it looks once
  if (waiting < kBusy) return {};
  const int fewer = std::clamp(all - static_cast<int>(waiting + 1), 1, all - 1);
  char text[240];
  std::snprintf(text, sizeof text,
                "too few cores are free: in each second the %d threads wait %.1f s for one; --threads %d is probably "
                "faster, with the same bits",
                all, waiting, fewer);
  return text;
}

}  // namespace mixgrad::app
