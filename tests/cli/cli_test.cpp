// The program as a whole: its version, its help, words that it does not know, a stdout that cannot be written.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

// The part of `text` between two others.
std::string between(const std::string& text, const std::string& before, const std::string& after) {
  const std::size_t begin = text.find(before);
  if (begin == std::string::npos) return "(none)";
  const std::size_t end = text.find(after, begin + before.size());
  return text.substr(begin + before.size(), end - begin - before.size());
}

TEST_CASE("cli: the version tells commit and instruction set") {
  const Finished run = mixgrad("--version");
  CHECK(run.out == mixgrad("version").out);
  CHECK(trouble(run) == "");
  INFO(run.out);
  CHECK(lines_of(run.out).size() == 1);
  const std::string number = between(run.out, "mixgrad ", " (commit ");
  CHECK(number.find_first_not_of("0123456789.") == std::string::npos);
  CHECK(std::count(number.begin(), number.end(), '.') == 2);
  std::string commit = between(run.out, " (commit ", "), instruction set ");
  if (commit.ends_with("-dirty")) commit.resize(commit.size() - 6);
  const bool is_hash = commit.size() >= 7 && commit.find_first_not_of("0123456789abcdef") == std::string::npos;
  CHECK((is_hash || commit == "unknown"));  // unknown outside of a repository
  std::string instructions = between(run.out, "instruction set ", ", devices ");
  if (instructions.ends_with(" and AMX")) instructions.resize(instructions.size() - 8);
  CHECK(has("AVX-512,AVX2 and FMA,NEON,baseline", instructions));
  CHECK(has(run.out, ", devices cpu"));
  CHECK((has(run.out, ", several processes by MPI or TCP, ") || has(run.out, ", several processes by TCP (no MPI), ")));
}

TEST_CASE("cli: without arguments the help is printed, and it tells the exit codes") {
  const Finished run = mixgrad("");
  CHECK(trouble(run) == "");
  CHECK(run.out == mixgrad("--help").out);
  CHECK(run.out == mixgrad("help").out);
  CHECK(has(run.out, "Exit codes: 0 done, 1 a check failed, 2 wrong options, 3 bad input (data, checkpoint), 4"));
  REQUIRE(verb_names().size() >= 8);
  for (const std::string& verb : verb_names()) CHECK(has(run.out, "\n  " + verb + " "));
}

TEST_CASE("cli: the help of every verb has an example that parses") {
  for (const std::string& verb : verb_names()) {
    INFO(verb);
    const Finished help = mixgrad(verb + " --help");
    CHECK(trouble(help) == "");
    CHECK(has(help.out, "Exit codes: "));
    const std::size_t at = help.out.find("Example:\n  mixgrad ");
    REQUIRE(at != std::string::npos);
    std::string example = help.out.substr(at + std::string("Example:\n  mixgrad ").size());
    example = example.substr(0, example.find('\n'));
    CHECK(example.starts_with(verb));
    std::erase(example, '"');  // of a prompt without a blank
    const Finished parsed = mixgrad(example + " --print-config");
    CHECK(trouble(parsed) == "");
    CHECK(has(parsed.out, " = "));
  }
}

TEST_CASE("cli: unknown verbs and options are refused, and the nearest right one is named") {
  const auto refused = [](const std::string& line, const std::string& text) {
    INFO(line);
    const Finished run = mixgrad(line);
    CHECK(not_refused(run, 2) == "");
    INFO(run.err);
    CHECK(has(run.err, text));
    CHECK(run.out == "");
  };
  refused("trian", "unknown verb \"trian\"; did you mean \"train\"?");
  refused("--vershon", "did you mean --version?");
  refused("--json train", "a verb comes first");
  refused("train --bach 3", "unknown option \"--bach\"; did you mean --batch?");
  refused("train -batch 3", "did you mean --batch?");
  refused("train --out a eval", "unexpected argument \"eval\"");
  refused("train --out --json", "--out needs a value (DIR); got the option --json");
  refused("eval --data", "--data needs a value (SOURCE...); got nothing");
  refused("help trian", "unknown verb \"trian\"; did you mean \"train\"?");
  refused("help train eval", "help: at most one verb can be given; got 2 words");
  refused("hlep", "did you mean \"help\"?");
  refused("version 2", "version: takes no argument; got \"2\"");
  refused("inspect model tape", "one word is required (model, tape, attention); got 2 words");
  refused("train --json=maybe --out a", "--json must be true or false; got \"maybe\"");
  refused("inspect", "as in mixgrad inspect model");
  refused("inspect modle", "did you mean \"model\"?");
  refused("bench trian", "did you mean \"train\"?");
}

TEST_CASE("cli: help and version have a help of their own, which is that of the program") {
  const std::string program = mixgrad("--help").out;
  for (const std::string line :
       {"help", "help help", "help version", "help --help", "help -h", "version --help", "-h"}) {
    INFO(line);
    const Finished run = mixgrad(line);
    CHECK(trouble(run) == "");
    CHECK(run.out == program);
  }
}

TEST_CASE("cli: the help of a verb is at most 100 columns wide, in groups, and the same by help VERB") {
  for (const std::string& verb : verb_names()) {
    INFO(verb);
    const Finished help = mixgrad(verb + " --help");
    CHECK(help.out == mixgrad("help " + verb).out);
    for (const std::string& line : lines_of(help.out)) CHECK_MESSAGE(line.size() <= 100, line);
  }
  for (const std::string& line : lines_of(mixgrad("help").out)) CHECK_MESSAGE(line.size() <= 100, line);
  const std::string help = mixgrad("help train").out;
  std::size_t last = 0;
  for (const std::string title : {"Run", "Data", "Model", "Optimisation", "Device", "General"}) {
    const std::size_t at = help.find("\n\n" + title + ":\n");
    CHECK_MESSAGE(at != std::string::npos, title);
    CHECK_MESSAGE(at > last, title);
    last = at;
  }
  CHECK(has(between(help, "\nRun:\n", "\nData:"), "\n  --resume DIR "));
  CHECK(has(between(help, "\nModel:\n", "\nOptimisation:"), "\n  --layers INT "));
  // A verb shows only options that it uses.
  CHECK_FALSE(has(mixgrad("help inspect").out, "--lr "));
  CHECK_FALSE(has(mixgrad("help bench").out, "--steps "));
  CHECK_FALSE(has(mixgrad("help generate").out, "--layers "));
  CHECK_FALSE(has(mixgrad("help ops").out, "--threads "));
}

TEST_CASE("cli: help of a verb and a word that it takes is the help of the verb") {
  CHECK(mixgrad("help bench train").out == mixgrad("bench --help").out);
  CHECK(mixgrad("help inspect attention").out == mixgrad("inspect --help").out);
  CHECK(mixgrad("help data show").out == mixgrad("data --help").out);
  for (const std::string line : {"help bench trian", "help bench train op"}) {
    const Finished run = mixgrad(line);
    CHECK(not_refused(run, 2) == "");
    CHECK(has(run.err, "help: at most one verb can be given"));
  }
}

TEST_CASE("cli: output that cannot be written is an error") {
  for (const std::string line : {"ops", "train --print-config", "gradcheck --op add --json --threads 1"}) {
    INFO(line);
    CHECK(not_refused(run_program(words(line), "/dev/full"), 4) == "");
  }
}

}  // namespace
}  // namespace mixgrad::test
