#include "nn/data/tasks/task.h"

#include <algorithm>

#include "core/error.h"
#include "core/numeric/philox.h"
#include "core/text/parse_number.h"
#include "core/text/suggest.h"
#include "nn/config/patterns/pattern_text.h"
#include "nn/tokenizers/ids_tokenizer.h"

namespace mixgrad {

#define TASK(name) TaskKind name##_task();
#include "nn/data/tasks/tasks.def"
#undef TASK

namespace {

std::string value_text(const TaskOption& option, std::int64_t value) {
  if (option.kind == TaskOption::Kind::truth) return value != 0 ? "true" : "false";
  return std::to_string(value);
}

// "mqar(pairs=64,vocab=8192,length=256)"
std::string with_values(const std::string& name, const TaskKind& kind, const TaskValues& values) {
  std::string text;
  for (const TaskOption& option : kind.options) {
    text += (text.empty() ? "" : ",") + option.name + "=" + value_text(option, values.at(option.name));
  }
  return name + "(" + text + ")";
}

TaskValues defaults(const TaskKind& kind) {
  TaskValues values;
  for (const TaskOption& option : kind.options) values[option.name] = option.value;
  return values;
}

[[noreturn]] void malformed(std::string_view text, const std::string& what) {
  raise<ValueError>("task: a task like \"mqar(pairs=8,vocab=256,length=64)\" is required; ", what, " in ", quote(text),
                    "; correct it");
}

std::int64_t parse_value(const std::string& task, const TaskOption& option, std::string_view text) {
  if (option.kind == TaskOption::Kind::truth) {
    if (text == "true") return 1;
    if (text == "false") return 0;
    raise<ValueError>("task: ", task, " ", option.name, " must be true or false; got ", quote(text), "; correct it");
  }
  const auto value = parse_integer(text);
  if (!value || *value < option.low || *value > option.high) {
    raise<ValueError>("task: ", task, " ", option.name, " must be an integer from ", option.low, " to ", option.high,
                      "; got ", quote(text), "; correct it");
  }
  return *value;
}

const TaskOption& option_named(const std::string& task, const TaskKind& kind, const std::string& name) {
  std::vector<std::string> names;
  for (const TaskOption& option : kind.options) {
    if (option.name == name) return option;
    names.push_back(option.name);
  }
  raise<ValueError>("task: ", task, " has the options ", join(names), "; got ", quote(name), "; ",
                    did_you_mean(name, names), "correct it");
}

TaskValues parse_values(const std::string& name, const TaskKind& kind, std::string_view inside, std::string_view text) {
  TaskValues values = defaults(kind);
  TaskValues given;
  for (const std::string_view item : split(inside, ',')) {
    const std::size_t equals = item.find('=');
    if (equals == std::string_view::npos) malformed(text, "the option " + quote(item) + " without \"=\"");
    const std::string key(trimmed(item.substr(0, equals)));
    const TaskOption& option = option_named(name, kind, key);
    values[key] = parse_value(name, option, trimmed(item.substr(equals + 1)));
    if (!given.emplace(key, 0).second) malformed(text, "the option " + quote(key) + " twice");
  }
  return values;
}

}  // namespace

TokenizerPtr Task::tokenizer() const { return ids_tokenizer(vocabulary()); }

void Task::sequence(std::uint64_t seed, std::uint64_t counter, TaskSequence& out) const {
  out.tokens.assign(static_cast<std::size_t>(length()), 0);
  out.targets.assign(static_cast<std::size_t>(length()), -1);
  out.answers.clear();
  Rng rng(random_bits(seed, counter).first64());
  generate(rng, out);
}

std::vector<std::string> task_names() {
  return {
#define TASK(name) #name,
#include "nn/data/tasks/tasks.def"
#undef TASK
  };
}

const TaskKind& task_kind(const std::string& name) {
#define TASK(task)                              \
  if (name == #task) {                          \
    static const TaskKind kind = task##_task(); \
    return kind;                                \
  }
#include "nn/data/tasks/tasks.def"
#undef TASK
  const std::vector<std::string> names = task_names();
  raise<ValueError>("task: must be one of ", join(names), "; got ", quote(name), "; ", did_you_mean(name, names),
                    "choose one of them");
}

TaskPtr parse_task(std::string_view given) {
  const std::string_view text = trimmed(given);
  const std::size_t open = text.find('(');
  const std::string name(trimmed(text.substr(0, open)));
  const TaskKind& kind = task_kind(name);
  TaskValues values = defaults(kind);
  if (open != std::string_view::npos) {
    if (text.back() != ')') malformed(text, "no closing parenthesis at the end");
    const std::string_view inside = trimmed(text.substr(open + 1, text.size() - open - 2));
    if (inside.find_first_of("()") != std::string_view::npos) malformed(text, "a parenthesis within parentheses");
    if (!inside.empty()) values = parse_values(name, kind, inside, text);
  }
  std::unique_ptr<Task> task = kind.make(values);
  task->name_ = name;
  task->text_ = with_values(name, kind, values);
  return task;
}

std::string task_help() {
  std::string help;
  for (const std::string& name : task_names()) {
    const TaskKind& kind = task_kind(name);
    help += (help.empty() ? "" : "; ") + with_values(name, kind, defaults(kind)) + ": " + kind.summary;
  }
  return help;
}

// The first steps of a Fisher-Yates shuffle of [low, high): `scratch` is that table, put in order again afterwards.
void draw_distinct(Rng& rng, std::int64_t count, std::int64_t low, std::int64_t high, TaskSequence& sequence,
                   std::vector<std::int32_t>& out) {
  const std::int64_t size = high - low;
  MIXGRAD_ASSERT(count >= 0 && count <= size, "as many different numbers as the range has");
  std::vector<std::int32_t>& table = sequence.scratch;
  while (static_cast<std::int64_t>(table.size()) < size) table.push_back(static_cast<std::int32_t>(table.size()));
  std::vector<std::int64_t> swapped;
  swapped.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    const auto j = i + static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(size - i)));
    std::swap(table[static_cast<std::size_t>(i)], table[static_cast<std::size_t>(j)]);
    swapped.push_back(j);
    out.push_back(static_cast<std::int32_t>(low) + table[static_cast<std::size_t>(i)]);
  }
  for (std::int64_t i = count - 1; i >= 0; --i) {
    std::swap(table[static_cast<std::size_t>(i)],
              table[static_cast<std::size_t>(swapped[static_cast<std::size_t>(i)])]);
  }
}

}  // namespace mixgrad
