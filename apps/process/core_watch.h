// Notices in the first steps of a run that too few cores are free, because other programs keep them busy or there are
// fewer than threads, so that fewer threads would be faster: with a static share of the work each, all threads wait for
// the one that has no core. It only says so: the number of threads changes no bit, and stays what was asked for.
#pragma once

#include <cstdint>
#include <string>

namespace mixgrad::app {

class CoreWatch {
 public:
  // With one thread, or where the system does not count how long a thread waits for a core (Linux does, in
  // /proc/self/task/*/schedstat), it never says anything.
  explicit CoreWatch(int threads) : threads_(threads) {}

  // After each step. A sentence once, after a second and a half, or nothing.
  std::string after_step();

 private:
  int threads_;
  std::int64_t steps_ = 0;
  double start_ = 0, waited_ = 0;  // seconds, when the first step was done
};

}  // namespace mixgrad::app
