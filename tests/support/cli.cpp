#include "tests/support/cli.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <regex>
#include <sstream>

#include "tests/support/named_options.h"

namespace mixgrad::test {
namespace {

// Reads both pipes until the process closes them; false when that takes too long.
bool drain(const std::array<int, 2>& pipes, std::array<std::string*, 2> texts, double seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  std::array<pollfd, 2> open{pollfd{pipes[0], POLLIN, 0}, pollfd{pipes[1], POLLIN, 0}};
  while (open[0].fd >= 0 || open[1].fd >= 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    if (::poll(open.data(), open.size(), static_cast<int>(left.count())) <= 0) continue;
    for (std::size_t i = 0; i < open.size(); ++i) {
      if (open[i].fd < 0 || open[i].revents == 0) continue;
      std::array<char, 4096> chunk{};
      const ssize_t got = ::read(open[i].fd, chunk.data(), chunk.size());
      if (got <= 0) {
        open[i].fd = -1;
      } else {
        texts[i]->append(chunk.data(), static_cast<std::size_t>(got));
      }
    }
  }
  return true;
}

}  // namespace

Arguments words(const std::string& text) {
  std::istringstream in(text);
  Arguments result;
  for (std::string word; in >> word;) result.push_back(word);
  return result;
}

Finished run_program(const Arguments& arguments, const std::string& out_path) {
  Finished result = run_unchecked(arguments, out_path);
  for (const std::string& text : {result.err, arguments.empty() || arguments[0] == "generate" ? "" : result.out}) {
    CHECK_MESSAGE(wrong_plural(text) == "", text);
  }
  const Arguments verbs = result.err.find("--") == std::string::npos ? Arguments() : verb_names();
  if (arguments.empty() || std::find(verbs.begin(), verbs.end(), arguments[0]) == verbs.end()) return result;
  const bool word = arguments.size() > 1 && !arguments[1].starts_with("-");
  const std::string verb = arguments[0] + (word ? " " + arguments[1] : "");
  for (const std::string& line : lines_of(result.err)) {
    for (const NamedOption& named : named_options(line)) {
      const bool typed = std::any_of(arguments.begin(), arguments.end(), [&](const std::string& argument) {
        return argument.substr(0, argument.find('=')) == named.option;
      });
      const std::string& owner = named.verb.empty() ? verb : named.verb;
      if (!typed) CHECK_MESSAGE(verb_has(owner, named.option), owner << " has no " << named.option << ": " << line);
    }
  }
  return result;
}

Finished run_unchecked(const Arguments& arguments, const std::string& out_path) {
  std::array<int, 2> out{};
  std::array<int, 2> err{};
  if (::pipe2(out.data(), O_CLOEXEC) != 0 || ::pipe2(err.data(), O_CLOEXEC) != 0) return {255, "", "no pipe"};
  // All is made before the fork: the child may only make system calls.
  std::vector<char*> argv{const_cast<char*>(MIXGRAD_BINARY)};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  constexpr rlimit kMemory{rlim_t{4} << 30U, rlim_t{4} << 30U};
  constexpr rlimit kNoCore{0, 0};
  const pid_t child = ::fork();
  if (child == 0) {
    const int to = out_path.empty() ? out[1] : ::open(out_path.c_str(), O_WRONLY);
    ::dup2(to, STDOUT_FILENO);
    ::dup2(err[1], STDERR_FILENO);
    ::setrlimit(RLIMIT_CORE, &kNoCore);
    if (!kSanitized) ::setrlimit(RLIMIT_AS, &kMemory);  // a sanitizer reserves far more
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(out[1]);
  ::close(err[1]);
  Finished result;
  const bool ended = drain({out[0], err[0]}, {&result.out, &result.err}, kSanitized ? 100 : 10);
  if (!ended && child > 0) ::kill(child, SIGKILL);  // kill(-1) would reach every process there is
  int status = 0;
  ::waitpid(child, &status, 0);
  ::close(out[0]);
  ::close(err[0]);
  result.code = !ended ? kTimedOut : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

Arguments last_of_each(const Arguments& arguments) {
  Arguments result;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const bool option = arguments[i].starts_with("--") && i + 1 < arguments.size();
    const auto begin = arguments.begin() + static_cast<std::ptrdiff_t>(i) + 1;
    if (option && std::find(begin, arguments.end(), arguments[i]) != arguments.end()) {
      if (!arguments[i + 1].starts_with("--")) ++i;  // and its value
      continue;
    }
    result.push_back(arguments[i]);
  }
  return result;
}

Arguments without_json(Arguments arguments) {
  std::erase(arguments, "--json");
  return arguments;
}

Arguments verb_names() {
  Arguments names;
  for (const std::string& line : lines_of(TempFolder::get(MIXGRAD_SOURCE_DIR "/apps/verbs/verbs.def"))) {
    if (line.starts_with("VERB(")) names.push_back(line.substr(5, line.find(')') - 5));
    if (line.starts_with("VERB_OF(")) names.push_back(line.substr(8, line.find(',') - 8));
  }
  return names;
}

Finished mixgrad(const std::string& line, const Arguments& more) {
  Arguments arguments = words(line);
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_program(last_of_each(arguments));
}

std::string without_speed(const std::string& err) {
  static const std::regex speed("mixgrad: [0-9]+ tokens? in [0-9.]+ s, [0-9]+ tokens a second\n");
  return std::regex_replace(err, speed, "");
}

std::string trouble(const Finished& run) {
  if (run.code != 0) return "exit code " + std::to_string(run.code) + ": " + run.err;
  const std::string said = without_speed(run.err);
  return said.empty() ? "" : "stderr: " + said;
}

std::string not_refused(const Finished& run, int code) {
  const std::string what = "exit code " + std::to_string(run.code) + ", stderr: " + run.err;
  if (run.code != code) return "must be exit code " + std::to_string(code) + ": " + what;
  if (!run.err.starts_with("mixgrad: ")) return "must begin with the program's name: " + what;
  if (run.err.find('\n') != run.err.size() - 1) return "must be one line: " + what;
  for (const char* word :
       {"terminate", "what()", "std::", "Could not convert", "unexpected:", "runtime error", "\x1b"}) {
    if (has(run.err, word)) return std::string("must not hold ") + word + ": " + what;
  }
  return {};
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

Json json_of(const std::string& text) { return Json::parse(text); }

std::vector<Json> json_lines(const std::string& text) {
  std::vector<Json> values;
  for (const std::string& line : lines_of(text)) values.push_back(Json::parse(line, nullptr, false));
  return values;
}

std::string keys_of(const Json& object) {
  std::string keys;
  for (const auto& item : object.items()) keys += (keys.empty() ? "" : ",") + item.key();
  return keys;
}

std::string small_text() {
  const Arguments vocabulary = words("the cat sat on a mat and the dog ran to the house while rain fell");
  std::string text;
  std::uint32_t state = 1;
  for (int line = 0; line < 60; ++line) {
    for (int i = 0; i < 8; ++i) {
      state = state * 1664525U + 1013904223U;
      text += (i > 0 ? " " : "") + vocabulary[(state >> 16U) % vocabulary.size()];
    }
    text += '\n';
  }
  return text;
}

Finished train_tiny(const TempFolder& folder, const std::string& name, const std::string& options,
                    const Arguments& more) {
  if (!std::filesystem::exists(folder / "text.txt")) folder.put("text.txt", small_text());
  Arguments all{"--data", (folder / "text.txt").string(), "--out", (folder / name).string()};
  all.insert(all.end(), more.begin(), more.end());
  return mixgrad("train --json --log-every 1" + kTiny + options, all);
}

}  // namespace mixgrad::test
