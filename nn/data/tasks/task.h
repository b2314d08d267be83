// Synthetic tasks: sequences that are generated as they are needed, with the answers that a model must give.
//
//   const TaskPtr task = parse_task("mqar(pairs=8,vocab=256,length=64)");
//   TaskSequence sequence;
//   task->sequence(seed, counter, sequence);   // tokens, targets and answers of one sequence
//
// A sequence is a function of the task, seed and counter alone: a run that keeps its counter continues with the same
// sequences, whatever the size of its batches. Targets that are no part of an answer are -1, which the loss leaves out.
// README.md of this folder shows how to add a task.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/rng.h"
#include "nn/tokenizers/tokenizer.h"

namespace mixgrad {

// One answer: targets that lie side by side and are right only together.
struct TaskAnswer {
  std::int64_t position = 0;  // of its first target in the sequence
  std::int64_t tokens = 1;    // that it has
  // Tokens from where its (last) symbol stands in the question to the position that must produce it; 0: no such place.
  std::int64_t distance = 0;
  std::int64_t hops = 0;  // links of a chain that lead to it; 0: the task has no chains
};

struct TaskSequence {
  std::vector<std::int32_t> tokens, targets;  // [T]; a target is what follows its position, or -1
  std::vector<TaskAnswer> answers;            // in the order of their positions
  std::vector<std::int32_t> scratch = {};     // of draw_distinct
};

// The values of a task's options; true and false are 1 and 0.
using TaskValues = std::map<std::string, std::int64_t>;

class Task {
 public:
  virtual ~Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  virtual std::int64_t length() const = 0;      // T: tokens of a sequence, the context of a model that learns it
  virtual std::int64_t vocabulary() const = 0;  // tokens are below it
  virtual TokenizerPtr tokenizer() const;       // how tokens are shown; of a task without text the ids themselves

  // The sequence of this counter, into vectors that are reused. Safe to call from several threads.
  void sequence(std::uint64_t seed, std::uint64_t counter, TaskSequence& out) const;

  // The task with every option, such as "parity(length=32,running=false)": parse_task reads it.
  const std::string& text() const { return text_; }
  const std::string& name() const { return name_; }

 protected:
  Task() = default;
  // Fills tokens, which are 0, and targets, which are -1, both of length(), and appends the answers.
  virtual void generate(Rng& rng, TaskSequence& out) const = 0;

 private:
  friend std::shared_ptr<const Task> parse_task(std::string_view text);
  std::string name_, text_;
};

using TaskPtr = std::shared_ptr<const Task>;

// One option of a task: a number, or true or false.
struct TaskOption {
  enum class Kind : std::uint8_t { number, truth };
  std::string name;
  std::int64_t value = 0;  // the default
  std::int64_t low = 0, high = 1;
  std::string help;
  Kind kind = Kind::number;
};

// What a file of this folder describes, in the function NAME_task().
struct TaskKind {
  std::string summary;  // a few words for --help
  std::vector<TaskOption> options;
  // ValueError for values that do not fit together.
  std::unique_ptr<Task> (*make)(const TaskValues& values);
};

std::vector<std::string> task_names();  // the lines of tasks.def
// ValueError that lists the names.
const TaskKind& task_kind(const std::string& name);

// NAME or NAME(option=value,...). ValueError for anything else, with what is allowed.
TaskPtr parse_task(std::string_view text);

// "mqar(pairs=64,vocab=8192,length=256): recall ...; copy(...): ..." of all tasks, with their defaults.
std::string task_help();

// `count` different numbers of [low, high), in random order, at the end of `out`; count <= high - low.
void draw_distinct(Rng& rng, std::int64_t count, std::int64_t low, std::int64_t high, TaskSequence& sequence,
                   std::vector<std::int32_t>& out);

}  // namespace mixgrad
