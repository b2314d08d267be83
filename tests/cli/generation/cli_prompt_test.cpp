// What generation begins with, what a terminal is shown, and the progress line on one.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "tests/support/reliability.h"
#include "tests/support/terminal.h"

namespace mixgrad::test {
namespace {

// What the program prints on a terminal of so many columns.
std::string on_terminal(const Arguments& arguments, unsigned short columns, const char* kind = "xterm") {
  Terminal terminal(arguments, columns, kind);
  CHECK(terminal.finish() == 0);
  return terminal.shown();
}

// The longest stretch of characters that the cursor passes without going back to the first column.
std::size_t widest_line(const std::string& shown) {
  std::size_t widest = 0;
  std::size_t width = 0;
  for (std::size_t at = 0; at < shown.size(); ++at) {
    if (shown.compare(at, 3, "\x1b[K") == 0) {
      at += 2;
    } else if (shown[at] == '\r' || shown[at] == '\n') {
      width = 0;
    } else {
      widest = std::max(widest, ++width);
    }
  }
  return widest;
}

const std::string kShown = "--steps 30 --eval-every 10 ";  // a run with a progress line

Arguments shown_run(const TempFolder& folder, const std::string& name) {
  return without_json(tiny_run(folder, name, kShown + "--sample-tokens 0"));
}

TEST_CASE("cli terminal: the progress line is at most the columns less one, and is cleared before JSON") {
  const TempFolder folder;
  for (const unsigned short columns : {200, 80, 60, 40, 21}) {
    CAPTURE(columns);
    const std::string shown = on_terminal(shown_run(folder, "run" + std::to_string(columns)), columns);
    const std::string progress = shown.substr(shown.find("\x1b[K"), shown.rfind("\x1b[K") - shown.find("\x1b[K"));
    CHECK(widest_line(progress) < columns);
    CHECK(has(progress, "step 7/30"));
    CHECK(has(progress, "left ") == (columns >= 40));
  }
  const std::string json = on_terminal(tiny_run(folder, "json", kShown), 80);
  int rows = 0;
  for (std::size_t at = json.find('{'); at != std::string::npos; at = json.find('{', at + 1)) {
    const char before = json[at - 1];
    CHECK((before == 'K' || before == '\n'));  // cleared, or at the beginning of a line
    ++rows;
  }
  CHECK(rows == 30);  // one for each step
}

TEST_CASE("cli terminal: TERM=dumb and a stdout that is not a terminal get plain lines") {
  const TempFolder folder;
  const std::string dumb = on_terminal(shown_run(folder, "dumb"), 80, "dumb");
  CHECK(!has(dumb, "\x1b"));
  for (std::size_t at = dumb.find('\r'); at != std::string::npos; at = dumb.find('\r', at + 1)) {
    CHECK(dumb.substr(at, 2) == "\r\n");  // the line end of a terminal; nothing is written over
  }
  for (const std::string step : {"10", "20", "30"}) CHECK(has(dumb, "\nstep " + step + "/30  loss "));
  const Finished piped = run_program(shown_run(folder, "piped"));
  CHECK(piped.code == 0);
  CHECK(!has(piped.err, "\x1b"));
  CHECK(!has(piped.err, "\r"));
}

TEST_CASE("cli terminal: bytes that cannot be shown are escaped there, and raw in a pipe") {
  const TempFolder folder;
  REQUIRE(train_tiny(folder, "run", "--steps 2 --tokenizer byte").code == 0);
  const Arguments line{"generate", "--checkpoint", (folder / "run").string(), "--prompt", "\xe5\\x1b\\t", "--escapes",
                       "--tokens", "40",           "--temperature",           "9",        "--threads",    "1"};
  const Finished piped = run_program(line);
  CHECK(trouble(piped) == "");
  CHECK(piped.out.starts_with("\xe5\x1b\t"));
  CHECK(piped.out.size() == 3 + 40 + 1);
  const std::string shown = on_terminal(line, 80);
  CHECK(shown.starts_with("\\xe5\\x1b\t"));
  CHECK(has(shown, " tokens a second"));
  CHECK(std::all_of(shown.begin(), shown.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte >= 0x20 && byte != 0x7f) || c == '\n' || c == '\r' || c == '\t';
  }));
}

TEST_CASE("cli generate: without a prompt it begins with what the vocabulary has") {
  for (const std::string text : {"acgtacgtgattacagattacaacgt", "山水山水山火水火山水山火水山水火山火水"}) {
    const TempFolder folder;
    std::string line;
    for (int i = 0; i < 30; ++i) line += text;
    folder.put("text.txt", line);
    REQUIRE(train_tiny(folder, "run", "--steps 2").code == 0);
    const Finished run = mixgrad("generate --tokens 4 --threads 1", {"--checkpoint", (folder / "run").string()});
    CHECK(trouble(run) == "");
    const std::string start = text.substr(0, text[0] == 'a' ? 1 : 3);  // the first of the vocabulary
    CHECK_MESSAGE(run.out.starts_with(start), run.out);
    CHECK(run.out.size() >= start.size() * 2);
  }
}

TEST_CASE("cli generate: a prompt from a file and from stdin, with and without escapes") {
  const TempFolder folder;
  REQUIRE(train_tiny(folder, "run", "--steps 2").code == 0);
  const std::string generate = "generate --tokens 0 --threads 1 --checkpoint " + (folder / "run").string();
  const std::string file = folder.put("prompt", "the\ncat\n").string();
  CHECK(mixgrad(generate, {"--prompt-file", file}).out == "the\ncat\n\n");
  CHECK(mixgrad(generate, {"--prompt-file", folder.put("mark", "\xef\xbb\xbfthe").string()}).out == "the\n");
  for (const std::string option : {"--prompt-file", "--prompt"}) {
    const int before = ::dup(STDIN_FILENO);
    const int opened = ::open(file.c_str(), O_RDONLY);
    ::dup2(opened, STDIN_FILENO);
    CHECK(mixgrad(generate, {option, "-"}).out == "the\ncat\n\n");
    ::dup2(before, STDIN_FILENO);
    ::close(opened);
    ::close(before);
    Arguments both = words(generate);
    both.insert(both.end(), {option, "-", option, "-"});
    const Finished twice = run_program(both);
    CHECK(not_refused(twice, 2) == "");
    CHECK_MESSAGE(has(twice.err, option + ": - must be given once"), twice.err);
  }
  CHECK(mixgrad(generate, {"--prompt", "the\\ncat\\x20", "--escapes"}).out == "the\ncat \n");
  const auto refused = [&](const Arguments& more, int code, const std::string& text) {
    const Finished run = mixgrad(generate, more);
    CHECK(not_refused(run, code) == "");
    CHECK_MESSAGE(has(run.err, text), run.err);
  };
  refused({"--prompt", "the\\ncat"}, 2, "found '\\' (U+005C)");
  for (const std::string wrong : {"a\\q", "a\\", "a\\x1", "a\\xg0"}) {
    refused({"--prompt", wrong, "--escapes"}, 2, "a backslash must begin \\n, \\t, \\\\ or \\xNN; got ");
  }
  // A pipe is read to its end. Two marks: the second is a character of the text.
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  std::thread writer([&] { std::ofstream(folder / "pipe") << "the cat" << std::flush << " sat"; });
  CHECK(mixgrad(generate, {"--prompt-file", (folder / "pipe").string()}).out == "the cat sat\n");
  writer.join();
  refused({"--prompt-file", folder.put("marks", "\xef\xbb\xbf\xef\xbb\xbfthe").string()}, 2,
          "found U+FEFF at line 1, column 1");
  refused({"--prompt-file", folder.put("empty", "").string()}, 2, "at least one character is required");
  refused({"--prompt-file", (folder / "none").string()}, 4, "No such file");
  // A part of a character is refused like a character that is not in the vocabulary.
  refused({"--prompt", "\xe4\xba"}, 2, "--prompt: the char tokenizer needs UTF-8 text");
}

TEST_CASE("cli generate: with learned positions the tokens that are kept are said as they are") {
  for (const auto& [context, kept] : {std::pair{"1", "1"}, {"2", "1"}, {"7", "3"}, {"8", "4"}}) {
    const TempFolder folder;
    REQUIRE(train_tiny(folder, "run", std::string("--steps 1 --positions learned --context ") + context).code == 0);
    const Finished run =
        mixgrad("generate --tokens 12 --threads 1", {"--checkpoint", (folder / "run").string(), "--prompt", "the"});
    CHECK(run.code == 0);
    CHECK_MESSAGE(has(run.err, std::string("generation restarts from the last ") + kept + "\n"), run.err);
  }
}

TEST_CASE("cli train: the sample at the end") {
  const TempFolder folder;
  const auto run = [&](const std::string& name, const Arguments& more) {
    Arguments line = words("train" + kTiny + "--steps 2");
    line.insert(line.end(),
                {"--data", folder.put("text.txt", small_text()).string(), "--out", (folder / name).string()});
    line.insert(line.end(), more.begin(), more.end());
    return run_program(line);
  };
  CHECK(run("usual", {}).out.size() == 1 + 400 + 1);
  const Finished none = run("none", {"--sample-tokens", "0"});
  CHECK(none.out == "");
  CHECK(!has(none.err, "a sample"));
  const Finished own = run("own", {"--sample-tokens", "5", "--sample-temperature", "0", "--sample-prompt", "the cat"});
  CHECK(own.out.starts_with("the cat"));
  CHECK(own.out.size() == 7 + 5 + 1);
  // Each alone, the others as they are without it.
  const std::string usual = run("usual2", {}).out;
  CHECK(run("tokens", {"--sample-tokens", "7"}).out == usual.substr(0, 1 + 7) + "\n");
  const std::string likeliest = run("cold", {"--sample-temperature", "0"}).out;
  CHECK(likeliest.size() == usual.size());
  CHECK(likeliest != usual);
  CHECK(likeliest ==
        mixgrad("generate --tokens 400 --temperature 0 --threads 1", {"--checkpoint", (folder / "cold").string()}).out);
  CHECK(
      usual ==
      mixgrad("generate --tokens 400 --temperature 0.8 --threads 1", {"--checkpoint", (folder / "cold").string()}).out);
  const std::string prompted = run("prompted", {"--sample-prompt", "the dog"}).out;
  CHECK(prompted.starts_with("the dog"));
  CHECK(prompted.size() == 7 + 400 + 1);
  CHECK(has(run("hot", {"--sample-temperature", "-1"}).err, "--sample-temperature must be a number of at least 0"));
  CHECK(has(run("less", {"--sample-tokens", "-1"}).err, "--sample-tokens must be an integer from 0"));
  const Finished empty = run("empty", {"--sample-prompt", ""});
  CHECK(empty.code == 2);
  CHECK(has(empty.err, "--sample-prompt needs at least one character"));
  const Finished wrong = run("wrong", {"--sample-prompt", "Zebra"});
  CHECK(wrong.code == 2);
  CHECK(has(wrong.err, "--sample-prompt: every character must be"));
  CHECK(!std::filesystem::exists(folder / "wrong"));
}

}  // namespace
}  // namespace mixgrad::test
