// Copying: `count` random symbols, the mark 0, and the symbols once more, which the model must say one by one.
//   5 2 7 0 5 2        targets -1 -1 -1 5 2 7;  symbols 1 ... V - 1, T = 2 count
#include "nn/data/tasks/task.h"

namespace mixgrad {
namespace {

class Copy final : public Task {
 public:
  Copy(std::int64_t count, std::int64_t vocabulary) : count_(count), vocabulary_(vocabulary) {}

  std::int64_t length() const override { return 2 * count_; }
  std::int64_t vocabulary() const override { return vocabulary_; }

 private:
  void generate(Rng& rng, TaskSequence& out) const override {
    const auto n = static_cast<std::size_t>(count_);
    for (std::size_t i = 0; i < n; ++i) {
      out.tokens[i] = 1 + static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(vocabulary_ - 1)));
      out.targets[n + i] = out.tokens[i];
      if (i + 1 < n) out.tokens[n + 1 + i] = out.tokens[i];
      out.answers.push_back({.position = static_cast<std::int64_t>(n + i), .distance = count_});
    }
  }

  std::int64_t count_, vocabulary_;
};

}  // namespace

TaskKind copy_task() {
  return {
      .summary = "say the symbols before the mark once more",
      .options =
          {{.name = "count", .value = 32, .low = 1, .high = 1 << 16, .help = "symbols that are copied"},
           {.name = "vocab", .value = 32, .low = 3, .high = 1 << 20, .help = "symbols 1 to vocab - 1, and the mark 0"}},
      .make = [](const TaskValues& values) -> std::unique_ptr<Task> {
        return std::make_unique<Copy>(values.at("count"), values.at("vocab"));
      }};
}

}  // namespace mixgrad
