// Induction heads (Olsson et al., 2022, in the form of Fu et al., H3, 2023): random tokens; the mark 0 stands once at a
// random place and once more at the end, where the model must say the token that followed the first mark.
//   7 3 0 5 9 2 ... 4 0        target -1 but 5 at the last place;  tokens 1 ... V - 1
#include "nn/data/tasks/task.h"

namespace mixgrad {
namespace {

class Induction final : public Task {
 public:
  Induction(std::int64_t vocabulary, std::int64_t length) : vocabulary_(vocabulary), length_(length) {}

  std::int64_t length() const override { return length_; }
  std::int64_t vocabulary() const override { return vocabulary_; }

 private:
  void generate(Rng& rng, TaskSequence& out) const override {
    for (std::int32_t& token : out.tokens) {
      token = 1 + static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(vocabulary_ - 1)));
    }
    // The first mark leaves room for the token after it, which is not the last one.
    const std::size_t mark = rng.below(static_cast<std::uint64_t>(length_ - 2));
    const auto last = static_cast<std::size_t>(length_ - 1);
    out.tokens[mark] = out.tokens[last] = 0;
    out.targets[last] = out.tokens[mark + 1];
    out.answers.push_back({.position = length_ - 1, .distance = static_cast<std::int64_t>(last - mark - 1)});
  }

  std::int64_t vocabulary_, length_;
};

}  // namespace

TaskKind induction_task() {
  return {
      .summary = "say what followed the mark when it comes again (induction heads)",
      .options =
          {{.name = "vocab", .value = 16, .low = 3, .high = 1 << 20, .help = "tokens 1 to vocab - 1, and the mark 0"},
           {.name = "length", .value = 256, .low = 3, .high = 1 << 17, .help = "tokens of a sequence"}},
      .make = [](const TaskValues& values) -> std::unique_ptr<Task> {
        return std::make_unique<Induction>(values.at("vocab"), values.at("length"));
      }};
}

}  // namespace mixgrad
