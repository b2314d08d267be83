// Every signal that asks a program to end, a stdout that nobody reads or that was never open, descriptors that the
// launcher closed.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>

#include "nn/files/generations.h"
#include "tests/support/reliability.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

// A run that ends only when it is asked to; without an evaluation or a save before.
Arguments endless(const TempFolder& folder, const std::string& more = "") {
  return tiny_run(folder, "run", "--steps 1000000 --save-every 0 --eval-every 0 --log-every 5 " + more);
}

void wait_for_steps(const TempFolder& folder) {
  REQUIRE(wait_until([&] { return !TempFolder::get(folder / "run/metrics.jsonl").empty(); }));
}

// A run whose stdout is a pipe, of which some bytes are read and then no more.
Finished run_with_reader(const TempFolder& folder, const Arguments& arguments, std::size_t bytes) {
  std::array<int, 2> pipe{};
  REQUIRE(::pipe2(pipe.data(), O_CLOEXEC) == 0);
  Process process(folder, arguments, {.out_descriptor = pipe[1]});
  ::close(pipe[1]);
  std::string text(bytes, '\0');
  for (std::size_t got = 0; got < bytes;) {
    const ssize_t more = ::read(pipe[0], text.data() + got, bytes - got);
    if (more <= 0) break;
    got += static_cast<std::size_t>(more);
  }
  ::close(pipe[0]);
  return process.wait(kSanitized ? 60 : 10);
}

}  // namespace

TEST_CASE("reliability: every signal that asks to end saves, with 128 + its number") {
  for (const auto& [number, named] :
       {std::pair{SIGHUP, "SIGHUP"}, std::pair{SIGINT, "SIGINT"}, std::pair{SIGQUIT, "SIGQUIT"},
        std::pair{SIGUSR1, "SIGUSR1"}, std::pair{SIGUSR2, "SIGUSR2"}, std::pair{SIGALRM, "SIGALRM"},
        std::pair{SIGTERM, "SIGTERM"}, std::pair{SIGXCPU, "SIGXCPU"}}) {
    const std::string name = named;
    CAPTURE(name);
    const TempFolder folder;
    Process process(folder, endless(folder));
    wait_for_steps(folder);
    process.signal(number);
    process.signal(number);  // a launcher may send it twice: the same request
    const Finished finished = process.wait(kSanitized ? 60 : 10);
    INFO(finished.err);
    CHECK(finished.code == 128 + number);
    CHECK(has(finished.err, joined({"mixgrad: stopped by ", name, " after step "})));
    CHECK(damage(folder / "run") == "");
    const std::string more = std::to_string(generations(folder / "run").back() + 1);
    CHECK(run_program(resumption(folder / "run", "--stop-after " + more)).code == 0);
  }
}

TEST_CASE("reliability: of the signals that the launcher ignored only SIGHUP stays ignored") {
  const std::vector<int> all{SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM, SIGXCPU};
  for (const int number : all) {
    if (number == SIGHUP) continue;
    CAPTURE(number);
    const TempFolder folder;
    Process process(folder, endless(folder), {.ignored = all});
    wait_for_steps(folder);
    process.signal(SIGHUP);
    if (number == SIGINT) CHECK(goes_on(process, folder / "run"));
    process.signal(number);
    CHECK(process.wait(kSanitized ? 60 : 10).code == 128 + number);
    CHECK(damage(folder / "run") == "");
  }
}

// A shell without job control starts what stands before & with SIGINT and SIGQUIT ignored.
TEST_CASE("reliability: a job in the background of a script is stopped by kill -INT, and saved") {
  const TempFolder folder;
  std::string command;
  for (const std::string& word : endless(folder)) command += " '" + word + "'";
  const std::string metrics = (folder / "run/metrics.jsonl").string();
  const std::string script =
      folder
          .put("script", std::string(MIXGRAD_BINARY) + command + " > /dev/null 2>&1 &\n" + "run=$!\nwhile [ ! -s '" +
                             metrics + "' ]; do sleep 0.05; done\n" + "kill -INT $run\nwait $run\necho $? > '" +
                             (folder / "code").string() + "'\n")
          .string();
  REQUIRE(std::system(("timeout 60 sh '" + script + "'").c_str()) == 0);  // NOLINT(concurrency-mt-unsafe)
  CHECK(TempFolder::get(folder / "code") == "130\n");
  CHECK(damage(folder / "run") == "");
  CHECK(holds_run(folder / "run"));
}

TEST_CASE("reliability: SIGHUP and others come as often as they like") {
  for (const int number : {SIGHUP, SIGXCPU, SIGUSR2, SIGALRM}) {
    const TempFolder other;
    // A step that takes long: a second one of these does not end the process within it.
    Process process(other, tiny_run(other, "run", "--steps 5 --accumulate 2000 --d-model 64"));
    REQUIRE(wait_until([&] { return has(TempFolder::get(other / "stderr"), "parameters"); }));
    pause_for(0.1);
    for (int i = 0; i < 3; ++i) {
      process.signal(number);
      pause_for(0.15);
    }
    const Finished finished = process.wait(60);
    CHECK(finished.code == 128 + number);
    if (has(finished.err, "after step")) CHECK(damage(other / "run") == "");
  }
}

TEST_CASE("reliability: a stdout that nobody reads any more ends train with a checkpoint and one line") {
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{150}, std::size_t{5000}}) {
    CAPTURE(bytes);
    const TempFolder folder;
    const Finished finished = run_with_reader(folder, endless(folder), bytes);
    INFO(finished.err);
    CHECK(finished.code == 128 + SIGPIPE);
    CHECK(lines_of(finished.err).size() == 3);  // the data, the model, and why it ended
    CHECK(has(finished.err, "mixgrad: stopped by SIGPIPE (nobody reads stdout any more) after step "));
    CHECK(damage(folder / "run") == "");
    CHECK(holds_run(folder / "run"));
  }
  const TempFolder plain;  // without --json nothing is written to stdout before the end
  const Finished finished = run_with_reader(plain, without_json(endless(plain)), 0);
  CHECK(finished.code == 128 + SIGPIPE);
  CHECK(holds_run(plain / "run"));
  const TempFolder sample;  // gone during the sample
  const Arguments line = without_json(tiny_run(sample, "run", "--steps 2 --log-every 1 --sample-tokens 100000"));
  const Finished sampled = run_with_reader(sample, line, 3);
  INFO(sampled.err);
  CHECK(sampled.code == 128 + SIGPIPE);
  CHECK(has(sampled.err, "; the run is complete and saved in "));
  CHECK_FALSE(has(sampled.err, "--resume"));
  CHECK(generations(sample / "run").back() == 2);
}

TEST_CASE("reliability: a stdout that is full ends train with a checkpoint and the reason, or before the first step") {
  const TempFolder folder;
  const Finished at_once = run_program(endless(folder), "/dev/full");
  CHECK(not_refused(at_once, 4) == "");
  CHECK(has(at_once.err, "train: --json: stdout must be writable; it is not: No space left on device; redirect it"));
  CHECK_FALSE(holds_run(folder / "run"));
  if (kThreadSanitized) {
    std::fputs("ABSENT: a limit of the size of files, under ThreadSanitizer\n", stderr);
    return;
  }
  // A file with room for a few lines below the limit of its size.
  constexpr off_t kLimit = 400'000;
  const int out = ::open((folder / "out").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  REQUIRE(::lseek(out, kLimit - 700, SEEK_SET) == kLimit - 700);
  Process process(folder, endless(folder), {.file_bytes = kLimit, .out_descriptor = out});
  ::close(out);
  const Finished finished = process.wait(kSanitized ? 60 : 10);
  INFO(finished.err);
  CHECK(finished.code == 4);
  CHECK(has(lines_of(finished.err).back(), "mixgrad: stdout: cannot be written: File too large; stopped after step "));
  CHECK(has(finished.err, "; resume it with mixgrad train --resume "));
  CHECK(damage(folder / "run") == "");
  CHECK(holds_run(folder / "run"));
}

TEST_CASE("reliability: descriptors that the launcher closed never become files of the run") {
  for (const std::vector<int>& closed : {std::vector<int>{0}, {2}, {0, 2}, {0, 1}, {1, 2}, {0, 1, 2}, {1}}) {
    const bool no_stdout = std::find(closed.begin(), closed.end(), 1) != closed.end();
    std::string names;
    for (const int number : closed) names += std::to_string(number);
    CAPTURE(names);
    const TempFolder folder;
    const Arguments line = tiny_run(folder, "run", "--steps 40 --eval-every 10 --log-every 5");
    Process json(folder, line, {.closed = closed});
    const Finished with_json = json.wait(kSanitized ? 60 : 10);
    INFO(with_json.err);
    CHECK(with_json.code == (no_stdout ? 4 : 0));
    CHECK(holds_run(folder / "run") == !no_stdout);  // said before the first step
    if (no_stdout && closed.back() != 2) {
      CHECK(with_json.err ==
            "mixgrad: train: --json: stdout must be writable; it is not: Bad file descriptor; "
            "redirect it to a file or a pipe\n");
    }
    fs::remove_all(folder / "run");
    Process plain(folder, without_json(line), {.closed = closed});
    CHECK(plain.wait(kSanitized ? 60 : 10).code == (no_stdout ? 4 : 0));  // the sample cannot be written
    const std::vector<std::string> lines = lines_of(TempFolder::get(folder / "run/metrics.jsonl"));
    CHECK(lines.size() == 8);
    for (const std::string& one : lines) CHECK(one.starts_with("{\"step\":"));
    CHECK(damage(folder / "run") == "");
  }
  const TempFolder folder;
  Process version(folder, {"version"}, {.closed = {1}});
  CHECK(version.wait(10).code == 4);
}

TEST_CASE("reliability: a file that may not grow is a failed write, not a signal") {
  if (kThreadSanitized) {
    std::fputs("ABSENT: a limit of the size of files, under ThreadSanitizer\n", stderr);
    return;
  }
  const TempFolder folder;
  Process process(folder, tiny_run(folder, "run", "--steps 2"), {.file_bytes = 2000, .leaves_file_signal = true});
  const Finished finished = process.wait(kSanitized ? 60 : 10);
  INFO(finished.err);
  CHECK(finished.code == 4);
  CHECK(has(finished.err, "File too large"));
}

}  // namespace mixgrad::test
