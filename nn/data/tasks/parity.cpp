// Parity: random bits; at the last of them the model must say whether the number of ones is odd. With running=true it
// must say so of every beginning.
//   1 0 1 1        targets -1 -1 -1 1, or with running 1 1 0 1;  vocabulary 2
#include "nn/data/tasks/task.h"

namespace mixgrad {
namespace {

class Parity final : public Task {
 public:
  Parity(std::int64_t length, bool running) : length_(length), running_(running) {}

  std::int64_t length() const override { return length_; }
  std::int64_t vocabulary() const override { return 2; }

 private:
  void generate(Rng& rng, TaskSequence& out) const override {
    std::int32_t odd = 0;
    for (std::int64_t t = 0; t < length_; ++t) {
      const auto at = static_cast<std::size_t>(t);
      out.tokens[at] = static_cast<std::int32_t>(rng.below(2));
      odd ^= out.tokens[at];
      if (!running_ && t + 1 < length_) continue;
      out.targets[at] = odd;
      out.answers.push_back({.position = t});
    }
  }

  std::int64_t length_;
  bool running_;
};

}  // namespace

TaskKind parity_task() {
  return {.summary = "say whether the number of ones is odd",
          .options = {{.name = "length", .value = 32, .low = 1, .high = 1 << 17, .help = "bits of a sequence"},
                      {.name = "running",
                       .value = 0,
                       .help = "a target at every bit, not only at the last",
                       .kind = TaskOption::Kind::truth}},
          .make = [](const TaskValues& values) -> std::unique_ptr<Task> {
            return std::make_unique<Parity>(values.at("length"), values.at("running") != 0);
          }};
}

}  // namespace mixgrad
