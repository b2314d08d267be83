// Multi-query associative recall (Arora et al., Zoology, 2023): the sequence begins with `pairs` different keys, each
// followed by its value, and is 0 from there on, but for each key once more at a random even place, in random order.
// There the model must say its value.
//   k1 v1 k2 v2 ... kn vn 0 0 k2 0 0 0 k1 0 ...        targets -1 but v2 at the second k2, v1 at the second k1, ...
//   keys 1 ... V/2 - 1, values V/2 ... V - 1, all keys different, and all values
#include <algorithm>

#include "core/error.h"
#include "nn/data/tasks/task.h"

namespace mixgrad {
namespace {

class Mqar final : public Task {
 public:
  Mqar(std::int64_t pairs, std::int64_t vocabulary, std::int64_t length)
      : pairs_(pairs), vocabulary_(vocabulary), length_(length) {}

  std::int64_t length() const override { return length_; }
  std::int64_t vocabulary() const override { return vocabulary_; }

 private:
  void generate(Rng& rng, TaskSequence& out) const override {
    std::vector<std::int32_t> drawn;  // keys, values, places: n of each
    drawn.reserve(static_cast<std::size_t>(3 * pairs_));
    draw_distinct(rng, pairs_, 1, vocabulary_ / 2, out, drawn);
    draw_distinct(rng, pairs_, vocabulary_ / 2, vocabulary_, out, drawn);
    draw_distinct(rng, pairs_, pairs_, (length_ + 1) / 2, out, drawn);
    const auto n = static_cast<std::size_t>(pairs_);
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t at = 2 * static_cast<std::size_t>(drawn[2 * n + i]);
      out.tokens[2 * i] = out.tokens[at] = drawn[i];
      out.tokens[2 * i + 1] = out.targets[at] = drawn[n + i];
      out.answers.push_back(
          {.position = static_cast<std::int64_t>(at), .distance = static_cast<std::int64_t>(at - (2 * i + 1))});
    }
    std::sort(out.answers.begin(), out.answers.end(),
              [](const TaskAnswer& a, const TaskAnswer& b) { return a.position < b.position; });
  }

  std::int64_t pairs_, vocabulary_, length_;
};

std::unique_ptr<Task> make_mqar(const TaskValues& values) {
  const std::int64_t pairs = values.at("pairs");
  const std::int64_t vocabulary = values.at("vocab");
  const std::int64_t length = values.at("length");
  if (pairs > vocabulary / 2 - 1) {
    raise<ValueError>("task: mqar pairs must be at most ", vocabulary / 2 - 1, ", the keys of a vocab of ", vocabulary,
                      "; got ", pairs, "; give fewer pairs or a larger vocab");
  }
  if ((length + 1) / 2 - pairs < pairs) {
    raise<ValueError>("task: mqar length must be at least ", 4 * pairs - 1, ", the ", pairs,
                      " pairs and an even place for each of their keys; got ", length,
                      "; give a larger length or fewer pairs");
  }
  return std::make_unique<Mqar>(pairs, vocabulary, length);
}

}  // namespace

TaskKind mqar_task() {
  return {.summary = "say the value of each key that comes again (multi-query associative recall)",
          .options = {{.name = "pairs", .value = 64, .low = 1, .high = 8192, .help = "keys with a value each"},
                      {.name = "vocab",
                       .value = 8192,
                       .low = 4,
                       .high = 1 << 20,
                       .help = "keys are 1 to vocab / 2 - 1, values the upper half, 0 fills the rest"},
                      {.name = "length", .value = 256, .low = 3, .high = 1 << 17, .help = "tokens of a sequence"}},
          .make = make_mqar};
}

}  // namespace mixgrad
