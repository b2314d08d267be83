// Selective copying (Gu and Dao, Mamba, 2023): `count` random symbols stand at random places among blanks; marks
// follow, at which the model must say the symbols in their order.
//   0 5 0 0 2 0 7 0 M M M        targets -1 ... -1 5 2 7;  symbols 1 ... V - 2, the mark M = V - 1
#include <algorithm>

#include "core/error.h"
#include "nn/data/tasks/task.h"

namespace mixgrad {
namespace {

class SelectiveCopy final : public Task {
 public:
  SelectiveCopy(std::int64_t count, std::int64_t vocabulary, std::int64_t length)
      : count_(count), vocabulary_(vocabulary), length_(length) {}

  std::int64_t length() const override { return length_; }
  std::int64_t vocabulary() const override { return vocabulary_; }

 private:
  void generate(Rng& rng, TaskSequence& out) const override {
    std::vector<std::int32_t> places;
    draw_distinct(rng, count_, 0, length_ - count_, out, places);
    std::sort(places.begin(), places.end());
    for (std::int64_t i = 0; i < count_; ++i) {
      const auto from = static_cast<std::size_t>(places[static_cast<std::size_t>(i)]);
      const auto at = static_cast<std::size_t>(length_ - count_ + i);
      out.tokens[from] = 1 + static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(vocabulary_ - 2)));
      out.tokens[at] = static_cast<std::int32_t>(vocabulary_ - 1);
      out.targets[at] = out.tokens[from];
      out.answers.push_back(
          {.position = static_cast<std::int64_t>(at), .distance = static_cast<std::int64_t>(at - from)});
    }
  }

  std::int64_t count_, vocabulary_, length_;
};

std::unique_ptr<Task> make_selective_copy(const TaskValues& values) {
  const std::int64_t count = values.at("count");
  const std::int64_t length = values.at("length");
  if (length < 2 * count) {
    raise<ValueError>("task: selective_copy length must be at least ", 2 * count, ", ", count, " symbols and ", count,
                      " marks; got ", length, "; give a larger length or a smaller count");
  }
  return std::make_unique<SelectiveCopy>(count, values.at("vocab"), length);
}

}  // namespace

TaskKind selective_copy_task() {
  return {.summary = "say the symbols among blanks in their order",
          .options = {{.name = "count", .value = 16, .low = 1, .high = 1 << 16, .help = "symbols that are copied"},
                      {.name = "vocab",
                       .value = 16,
                       .low = 4,
                       .high = 1 << 20,
                       .help = "symbols 1 to vocab - 2, the blank 0 and the mark vocab - 1"},
                      {.name = "length", .value = 256, .low = 2, .high = 1 << 17, .help = "tokens of a sequence"}},
          .make = make_selective_copy};
}

}  // namespace mixgrad
