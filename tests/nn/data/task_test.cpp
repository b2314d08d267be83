// Every task: what its sequences are, by rules of their own that do not share a line with the generators.
#include "nn/data/tasks/task.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "core/error.h"
#include "nn/data/task_batches.h"

namespace mixgrad::test {
namespace {

constexpr int kTaskTries = 200;

TaskSequence task_sequence(const Task& task, std::uint64_t counter, std::uint64_t seed = 3) {
  TaskSequence sequence;
  task.sequence(seed, counter, sequence);
  return sequence;
}

// What holds of every sequence of every task; "" when all of it does.
std::string broken_rule(const Task& task, const TaskSequence& sequence) {
  const auto length = static_cast<std::size_t>(task.length());
  if (sequence.tokens.size() != length || sequence.targets.size() != length) return "the length";
  const auto known = [&](std::int32_t id) { return id >= 0 && id < task.vocabulary(); };
  if (!std::all_of(sequence.tokens.begin(), sequence.tokens.end(), known)) return "a token outside the vocabulary";
  std::vector<bool> answered(length, false);
  std::int64_t after = 0;
  for (const TaskAnswer& answer : sequence.answers) {
    if (answer.position < after || answer.tokens < 1) return "answers out of order";
    after = answer.position + answer.tokens;
    if (after > task.length()) return "an answer beyond the end";
    for (std::int64_t t = answer.position; t < after; ++t) answered[static_cast<std::size_t>(t)] = true;
    if (answer.distance < 0 || answer.distance > after - 1) return "a distance beyond the beginning";
  }
  if (sequence.answers.empty()) return "no answer";
  for (std::size_t t = 0; t < length; ++t) {
    if (answered[t] ? !known(sequence.targets[t]) : sequence.targets[t] != -1) return "a target and its answer differ";
  }
  return "";
}

const std::vector<std::string>& sample_tasks() {
  static const std::vector<std::string> tasks{"mqar(pairs=8,vocab=256,length=64)",
                                              "mqar(pairs=1,vocab=4,length=3)",
                                              "mqar(pairs=5,vocab=12,length=19)",
                                              "mqar",
                                              "induction",
                                              "induction(vocab=3,length=3)",
                                              "copy",
                                              "copy(count=1,vocab=3)",
                                              "selective_copy",
                                              "selective_copy(count=3,vocab=4,length=6)",
                                              "hashhop",
                                              "hashhop(hops=1,chains=1,letters=1)",
                                              "hashhop(hops=6,chains=3,letters=2,cot=true)",
                                              "hashhop(hops=3,chains=5,cot=true)",
                                              "parity",
                                              "parity(length=1)",
                                              "parity(length=9,running=true)"};
  return tasks;
}

TEST_CASE("task: sequences keep the rules of all tasks, and a sample of each task of the list is among them") {
  std::set<std::string> names;
  for (const std::string& text : sample_tasks()) {
    const TaskPtr task = parse_task(text);
    names.insert(task->name());
    CHECK(task->tokenizer()->vocab_size() == task->vocabulary());
    for (std::uint64_t i = 0; i < kTaskTries; ++i) {
      INFO(text << " " << i);
      REQUIRE(broken_rule(*task, task_sequence(*task, i)) == "");
    }
  }
  const std::vector<std::string> all = task_names();
  CHECK(names == std::set<std::string>(all.begin(), all.end()));
}

TEST_CASE("task: a sequence is a function of seed and counter alone") {
  for (const std::string& text : sample_tasks()) {
    INFO(text);
    const TaskPtr task = parse_task(text);
    TaskSequence reused;
    std::set<std::vector<std::int32_t>> different;
    for (const std::uint64_t counter : {7U, 3U, 5U, 3U}) {  // in any order, with vectors used before
      task->sequence(11, counter, reused);
      const TaskSequence alone = task_sequence(*parse_task(text), counter, 11);
      CHECK(reused.tokens == alone.tokens);
      CHECK(reused.targets == alone.targets);
      CHECK(reused.answers.size() == alone.answers.size());
      different.insert(reused.tokens);
    }
    if (task->length() > 16) CHECK(different.size() == 3);
    if (task->length() > 16) CHECK(task_sequence(*task, 3, 11).tokens != task_sequence(*task, 3, 12).tokens);
  }
}

TEST_CASE("task: batches are rows of the stream, whatever their size") {
  for (const char* text : {"mqar(pairs=4,vocab=32,length=24)", "hashhop(hops=2,chains=2,letters=2,cot=true)"}) {
    const TaskBatches stream(parse_task(text));
    const std::int64_t length = stream.task().length();
    const Tensor tokens = Tensor::empty({12, length}, DType::i32);
    const Tensor targets = Tensor::empty({12, length}, DType::i32);
    Rng rng(4, kFirstDraw + 9);
    stream.sample_batch(rng, tokens, targets);
    CHECK(rng.counter() == kFirstDraw + 9 + 12);
    Rng again(4, kFirstDraw + 9);
    for (const std::int64_t rows : {1, 5, 6}) {
      const Tensor some = Tensor::empty({rows, length}, DType::i32);
      const Tensor wanted = Tensor::empty({rows, length}, DType::i32);
      const auto first = static_cast<std::int64_t>(again.counter() - kFirstDraw - 9);
      stream.sample_batch(again, some, wanted);
      for (std::int64_t i = 0; i < some.numel(); ++i) {
        REQUIRE(some.at(i) == tokens.at(first * length + i));
        REQUIRE(wanted.at(i) == targets.at(first * length + i));
      }
    }
    CHECK(stream.id() == TaskBatches(parse_task(text)).id());
    CHECK_FALSE(stream.id() == TaskBatches(parse_task("parity")).id());
    CHECK(stream.text() == nullptr);
    const Tensor wrong = Tensor::empty({2, length + 1}, DType::i32);
    CHECK_THROWS_WITH_AS(stream.sample_batch(rng, wrong, wrong), doctest::Contains("take the length of the task"),
                         ShapeError);
    CHECK_NOTHROW(stream.check_context(length));
    CHECK_THROWS_WITH_AS(stream.check_context(length + 1), doctest::Contains("this one has a context of"), ValueError);
  }
}

TEST_CASE("task mqar: pairs first, then each key once at a later even place, its value the target there") {
  for (const char* text : {"mqar(pairs=8,vocab=256,length=64)", "mqar(pairs=5,vocab=12,length=19)", "mqar"}) {
    const TaskPtr task = parse_task(text);
    const auto pairs = static_cast<std::size_t>(std::string(text) == "mqar" ? 64 : text[11] - '0');
    const std::int64_t half = task->vocabulary() / 2;
    std::map<std::int64_t, int> places;
    for (std::uint64_t i = 0; i < kTaskTries; ++i) {
      INFO(text << " " << i);
      const TaskSequence s = task_sequence(*task, i);
      std::map<std::int32_t, std::int32_t> value_of;
      std::set<std::int32_t> values;
      for (std::size_t p = 0; p < pairs; ++p) {
        const std::int32_t key = s.tokens[2 * p];
        const std::int32_t value = s.tokens[2 * p + 1];
        REQUIRE((key >= 1 && key < half));
        REQUIRE((value >= half && value < task->vocabulary()));
        value_of[key] = value;
        values.insert(value);
      }
      REQUIRE(value_of.size() == pairs);
      REQUIRE(values.size() == pairs);
      std::size_t asked = 0;
      for (std::size_t t = 2 * pairs; t < s.tokens.size(); ++t) {
        const bool query = s.tokens[t] != 0;
        REQUIRE(s.targets[t] == (query ? value_of.at(s.tokens[t]) : -1));
        if (!query) continue;
        REQUIRE(t % 2 == 0);
        const TaskAnswer& answer = s.answers[asked++];
        REQUIRE(answer.position == static_cast<std::int64_t>(t));
        REQUIRE(s.tokens[t - static_cast<std::size_t>(answer.distance)] == s.targets[t]);
        ++places[answer.position];
        value_of.erase(s.tokens[t]);
      }
      REQUIRE(value_of.empty());
      REQUIRE(asked == pairs);
    }
    // Every even place behind the pairs is taken, and none much more often than others.
    const auto free = (static_cast<std::size_t>(task->length()) + 1) / 2 - pairs;
    CHECK(places.size() == free);
    const double mean = static_cast<double>(kTaskTries * pairs) / static_cast<double>(free);
    for (const auto& [place, count] : places) CHECK(count < 2 * mean + 10);
  }
}

TEST_CASE("task induction: the last mark asks for what followed the first") {
  for (const char* text : {"induction(vocab=16,length=40)", "induction(vocab=3,length=3)"}) {
    const TaskPtr task = parse_task(text);
    std::set<std::ptrdiff_t> marks;
    for (std::uint64_t i = 0; i < kTaskTries; ++i) {
      const TaskSequence s = task_sequence(*task, i);
      const auto mark = std::find(s.tokens.begin(), s.tokens.end(), 0);
      REQUIRE(std::count(s.tokens.begin(), s.tokens.end(), 0) == 2);
      REQUIRE(s.tokens.back() == 0);
      REQUIRE(s.answers.size() == 1);
      REQUIRE(s.targets.back() == *(mark + 1));
      REQUIRE(s.targets.back() > 0);
      REQUIRE(s.answers[0].distance == s.tokens.end() - 1 - (mark + 1));
      marks.insert(mark - s.tokens.begin());
    }
    CHECK(marks.size() == static_cast<std::size_t>(task->length() - 2));
  }
}

TEST_CASE("task copy: the symbols before the mark, one by one") {
  const TaskPtr task = parse_task("copy(count=7,vocab=5)");
  CHECK(task->length() == 14);
  for (std::uint64_t i = 0; i < kTaskTries; ++i) {
    const TaskSequence s = task_sequence(*task, i);
    REQUIRE(s.tokens[7] == 0);
    REQUIRE(std::count(s.tokens.begin(), s.tokens.end(), 0) == 1);
    REQUIRE(s.answers.size() == 7);
    for (std::size_t k = 0; k < 7; ++k) {
      REQUIRE(s.targets[7 + k] == s.tokens[k]);
      if (k > 0) REQUIRE(s.tokens[7 + k] == s.targets[6 + k]);
      REQUIRE(s.answers[k].distance == 7);
    }
  }
}

TEST_CASE("task selective_copy: the symbols among blanks, in their order, at the marks") {
  const TaskPtr task = parse_task("selective_copy(count=4,vocab=7,length=30)");
  for (std::uint64_t i = 0; i < kTaskTries; ++i) {
    const TaskSequence s = task_sequence(*task, i);
    std::vector<std::size_t> from;
    for (std::size_t t = 0; t < 26; ++t) {
      REQUIRE((s.tokens[t] >= 0 && s.tokens[t] < 6));
      if (s.tokens[t] != 0) from.push_back(t);
    }
    REQUIRE(from.size() == 4);
    for (std::size_t k = 0; k < 4; ++k) {
      REQUIRE(s.tokens[26 + k] == 6);
      REQUIRE(s.targets[26 + k] == s.tokens[from[k]]);
      REQUIRE(s.answers[k].distance == static_cast<std::int64_t>(26 + k - from[k]));
    }
  }
}

TEST_CASE("task parity: whether the number of ones is odd, of the whole or of every beginning") {
  for (const char* text : {"parity(length=9)", "parity(length=9,running=true)"}) {
    const TaskPtr task = parse_task(text);
    int odd = 0;
    for (std::uint64_t i = 0; i < kTaskTries; ++i) {
      const TaskSequence s = task_sequence(*task, i);
      for (std::size_t t = 0; t < 9; ++t) {
        const auto ones = std::count(s.tokens.begin(), s.tokens.begin() + static_cast<std::ptrdiff_t>(t) + 1, 1);
        if (s.targets[t] >= 0) REQUIRE(s.targets[t] == ones % 2);
      }
      odd += s.targets.back();
      REQUIRE(s.answers.size() == (std::string(text).size() > 16 ? 9 : 1));
    }
    CHECK(std::abs(odd - kTaskTries / 2) < 40);
  }
}

std::vector<std::string> text_lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// The text of a sequence: tokens, then the last target where there is one.
std::string hop_text(const Task& task, const TaskSequence& s) {
  std::string text = task.tokenizer()->decode(s.tokens);
  if (s.targets.back() >= 0) text += task.tokenizer()->decode(std::vector<std::int32_t>{s.targets.back()});
  return text;
}

// Follows the chain of a question "2 abcd = ..." through the lines; with `thoughts` all hashes on the way.
std::string hop_answer(const std::vector<std::string>& lines, std::size_t letters, const std::string& question,
                       bool thoughts) {
  std::map<std::string, std::string> next;
  for (const std::string& line : lines) {
    REQUIRE(line.size() == 2 * letters + 3);
    REQUIRE(line.substr(letters, 3) == " = ");
    REQUIRE(next.emplace(line.substr(0, letters), line.substr(letters + 3)).second);
  }
  std::string at = question.substr(2, letters);
  std::string answer;
  for (int left = question[0] - '0'; left > 0; --left) {
    at = next.at(at);
    if (thoughts && left > 1) answer += at + " = ";
  }
  return answer + at;
}

TEST_CASE("task hashhop: the answer is where the lines lead") {
  struct Form {
    const char* text;
    std::size_t hops, chains, letters;
    bool thoughts;
  };
  for (const Form form : {Form{"hashhop(hops=3,chains=4,letters=2)", 3, 4, 2, false},
                          Form{"hashhop(hops=3,chains=4,letters=2,cot=true)", 3, 4, 2, true},
                          Form{"hashhop(hops=1,chains=1,letters=1)", 1, 1, 1, false},
                          Form{"hashhop(hops=6,chains=2,letters=4,cot=true)", 6, 2, 4, true}}) {
    const TaskPtr task = parse_task(form.text);
    std::map<std::int64_t, int> hops;
    for (std::uint64_t i = 0; i < kTaskTries; ++i) {
      const TaskSequence s = task_sequence(*task, i);
      INFO(form.text << " " << i << "\n" << hop_text(*task, s));
      std::vector<std::string> lines = text_lines(hop_text(*task, s));
      const std::size_t count = form.hops * form.chains;
      REQUIRE(lines.size() > count);
      const std::string question = lines[count];
      lines.resize(count);
      std::set<std::string> hashes;
      for (const std::string& line : lines)
        hashes.insert({line.substr(0, form.letters), line.substr(form.letters + 3)});
      REQUIRE(hashes.size() == form.chains * (form.hops + 1));
      const std::string answer = hop_answer(lines, form.letters, question, form.thoughts);
      REQUIRE(question == question.substr(0, form.letters + 5) + answer);
      REQUIRE(s.answers.size() == 1);
      const TaskAnswer& one = s.answers[0];
      REQUIRE(one.hops == question[0] - '0');
      REQUIRE(one.tokens == static_cast<std::int64_t>(answer.size() + 1));  // and the line end
      const auto at = s.targets.begin() + one.position;
      REQUIRE(task->tokenizer()->decode(std::vector<std::int32_t>(at, at + one.tokens)) == answer + "\n");
      // The last letter is produced before the line end, `distance` behind its place in the lines.
      const auto produced = static_cast<std::size_t>(one.position + one.tokens - 2);
      REQUIRE(s.tokens[produced - static_cast<std::size_t>(one.distance)] == s.targets[produced]);
      ++hops[one.hops];
    }
    CHECK(hops.size() == form.hops);
    for (const auto& [hop, count] : hops) {
      CHECK(count > kTaskTries / static_cast<int>(form.hops) / 2);
    }
  }
}

TEST_CASE("task: the text of a task holds every option, and reads as the same task") {
  CHECK(parse_task("mqar")->text() == "mqar(pairs=64,vocab=8192,length=256)");
  CHECK(parse_task(" parity( running = true ) ")->text() == "parity(length=32,running=true)");
  CHECK(parse_task("parity()")->text() == "parity(length=32,running=false)");
  for (const std::string& name : task_names()) {
    const std::string text = parse_task(name)->text();
    CHECK(parse_task(text)->text() == text);
    CHECK(task_help().find(text + ": " + task_kind(name).summary) != std::string::npos);
    for (const TaskOption& option : task_kind(name).options) {
      INFO(name << " " << option.name);
      CHECK(option.help != "");
      CHECK((option.value >= option.low && option.value <= option.high));
      CHECK_THROWS_AS(parse_task(name + "(" + option.name + "=-1)"), ValueError);
      CHECK_THROWS_AS(parse_task(name + "(" + option.name + "=)"), ValueError);
    }
  }
}

TEST_CASE("task: errors say what is allowed") {
  const auto refused = [](const char* text, const char* message) {
    INFO(text);
    CHECK_THROWS_WITH_AS(parse_task(text), doctest::Contains(message), ValueError);
  };
  refused("", "task: must be one of mqar, induction, copy, selective_copy, hashhop, parity; got \"\"");
  refused("mqarr", "got \"mqarr\"; did you mean \"mqar\"? choose one of them");
  refused("mqar(pairs=8", "no closing parenthesis at the end in \"mqar(pairs=8\"; correct it");
  refused("mqar(pairs=8)x", "no closing parenthesis");
  refused("mqar((pairs=8))", "a parenthesis within parentheses");
  refused("mqar(pairs)", "the option \"pairs\" without \"=\"");
  refused("mqar(pairs=8,pairs=8)", "the option \"pairs\" twice");
  refused("mqar(pair=8)", "task: mqar has the options pairs, vocab, length; got \"pair\"; did you mean \"pairs\"?");
  refused("mqar(pairs=0)", "task: mqar pairs must be an integer from 1 to 8192; got \"0\"; correct it");
  refused("mqar(pairs=8.0)", "got \"8.0\"");
  refused("parity(running=1)", "task: parity running must be true or false; got \"1\"");
  refused("mqar(pairs=6,vocab=12,length=64)", "task: mqar pairs must be at most 5, the keys of a vocab of 12; got 6");
  refused("mqar(pairs=8,vocab=64,length=30)", "task: mqar length must be at least 31, the 8 pairs and an even place");
  refused("selective_copy(count=9,length=17)",
          "task: selective_copy length must be at least 18, 9 symbols and 9 marks");
  refused("hashhop(letters=1,chains=20)", "task: hashhop chains * (hops + 1) must be at most 26, half of the hashes");
  CHECK_NOTHROW(parse_task("mqar(pairs=5,vocab=12,length=64)"));
  CHECK_NOTHROW(parse_task("mqar(pairs=8,vocab=64,length=31)"));
}

TEST_CASE("task: different numbers are drawn evenly and leave no trace") {
  Rng rng(1);
  TaskSequence sequence;
  std::map<std::int32_t, int> first;
  for (int i = 0; i < 3000; ++i) {
    std::vector<std::int32_t> drawn;
    draw_distinct(rng, i % 2 == 0 ? 3 : 6, 10, 16, sequence, drawn);
    const std::set<std::int32_t> set(drawn.begin(), drawn.end());
    REQUIRE(set.size() == drawn.size());
    REQUIRE((*set.begin() >= 10 && *set.rbegin() < 16));
    ++first[drawn[0]];
    for (std::size_t k = 0; k < sequence.scratch.size(); ++k) REQUIRE(sequence.scratch[k] == static_cast<int>(k));
  }
  for (const auto& [number, count] : first) CHECK(std::abs(count - 500) < 100);
}

}  // namespace
}  // namespace mixgrad::test
