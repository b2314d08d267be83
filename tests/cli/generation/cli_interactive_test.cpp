// mixgrad generate --interactive: on a terminal, and from a pipe.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include "tests/support/reliability.h"
#include "tests/support/terminal.h"

namespace mixgrad::test {
namespace {

const TempFolder& talker() {
  static const TempFolder folder;
  if (!std::filesystem::exists(folder / "run")) REQUIRE(train_tiny(folder, "run", "--steps 40").code == 0);
  return folder;
}

Arguments talk(const std::string& more) {
  Arguments line = words("generate --threads 1 --interactive " + more);
  line.insert(line.end(), {"--checkpoint", (talker() / "run").string()});
  return line;
}

std::string greedy(const std::string& prompt, const std::string& tokens) {
  const Finished run = mixgrad("generate --threads 1 --temperature 0 --tokens " + tokens,
                               {"--checkpoint", (talker() / "run").string(), "--prompt", prompt});
  return run.out.substr(prompt.size());
}

bool has_libedit() { return has(mixgrad("version").out, "line editing by libedit"); }

TEST_CASE("cli interactive: lines of a pipe are answered one after another, as generate continues each") {
  const TempFolder folder;
  const int before = ::dup(STDIN_FILENO);
  const int opened = ::open(folder.put("lines", "the cat\n\nZebra\nthe dog\r\nand").c_str(), O_RDONLY);
  ::dup2(opened, STDIN_FILENO);
  const Finished run = run_program(talk("--temperature 0 --tokens 12"));
  ::dup2(before, STDIN_FILENO);
  ::close(opened);
  ::close(before);
  CHECK(run.code == 0);
  CHECK(run.out == greedy("the cat", "12") + greedy("the dog", "12") + greedy("and", "12"));
  const Arguments said = lines_of(without_speed(run.err));
  REQUIRE(said.size() == 1);
  CHECK(has(said[0], "the line: every character must be one of the "));
}

TEST_CASE("cli interactive: on a terminal Ctrl-C stops the answer, and Ctrl-D ends the program") {
  for (const char* kind : {"xterm", "dumb"}) {
    INFO(kind);
    Terminal terminal(talk("--temperature 1 --tokens 1000000"), 80, kind);
    REQUIRE(terminal.wait_for("> "));
    terminal.type("the cat\n");
    CHECK(terminal.wait_for("the cat"));  // what was typed
    CHECK(terminal.wait_for("\n"));
    pause_for(0.2);
    terminal.type("\x03");
    CHECK(terminal.wait_for(" tokens a second"));
    CHECK(terminal.wait_for("> "));
    terminal.type("half of a li");
    CHECK(terminal.wait_for("half of a li"));
    pause_for(0.1);         // until it waits for the next character
    terminal.type("\x03");  // drops the line
    CHECK(terminal.wait_for("> "));
    terminal.type("the dog\n");
    pause_for(0.2);
    terminal.type("\x03");
    CHECK(terminal.wait_for(" tokens a second"));
    CHECK(terminal.wait_for("> "));
    terminal.type("\x04");
    CHECK(terminal.finish() == 0);
    INFO(terminal.shown());
    CHECK(!has(terminal.shown(), "every character must"));
  }
}

TEST_CASE("cli interactive: the line can be edited, and earlier ones come back") {
  if (!has_libedit()) {
    MESSAGE("skipped: the program was built without libedit");
    return;
  }
  Terminal terminal(talk("--temperature 0 --tokens 6"));
  REQUIRE(terminal.wait_for("> "));
  terminal.type("he cat\x01t\n");  // Ctrl-A: to the beginning of the line
  CHECK(terminal.wait_for(lines_of(greedy("the cat", "6")).at(0)));
  CHECK(terminal.wait_for("> "));
  terminal.type(
      "\x10\x7f\x7f\x7f"
      "dog\n");  // Ctrl-P: the line before
  CHECK(terminal.wait_for(lines_of(greedy("the dog", "6")).at(0)));
  CHECK(terminal.wait_for("> "));
  terminal.type("\x04");
  CHECK(terminal.finish() == 0);
}

TEST_CASE("cli interactive: stop texts, escapes, and what has no effect beside it") {
  const TempFolder folder;
  const int before = ::dup(STDIN_FILENO);
  const int opened = ::open(folder.put("lines", "the cat\\n\n").c_str(), O_RDONLY);
  ::dup2(opened, STDIN_FILENO);
  Arguments line = talk("--temperature 0 --tokens 100 --escapes");
  line.insert(line.end(), {"--stop", "\\x20"});
  const Finished run = run_program(line);
  ::dup2(before, STDIN_FILENO);
  ::close(opened);
  ::close(before);
  CHECK(run.code == 0);
  const std::string whole = greedy("the cat\n", "100");
  CHECK(run.out == whole.substr(0, whole.find(' ')) + "\n");
  for (const std::string option : {"--prompt a", "--prompt-file a", "--samples 2", "--batch 2", "--out a.abc"}) {
    const Finished refused = run_program(talk(option));
    CHECK(not_refused(refused, 2) == "");
    CHECK_MESSAGE(has(refused.err, words(option)[0] + " cannot be given here: --interactive continues what is typed"),
                  refused.err);
  }
  CHECK(has(run_program(talk("--json")).err, "--json cannot be given here: --interactive prints text"));
}

}  // namespace
}  // namespace mixgrad::test
