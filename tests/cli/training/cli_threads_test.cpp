// --threads of a run that is resumed, and a machine whose cores other programs keep busy.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "nn/training/checkpoint.h"
#include "tests/support/reliability.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

std::string threads_of(const Finished& run) {  // "2 threads" of the line about the model
  for (const std::string& line : lines_of(run.err)) {
    if (line.starts_with("model: ")) return line.substr(line.rfind(", ") + 2);
  }
  return "";
}

Finished resume_run(const fs::path& run, const std::string& options) {
  Arguments line = words("train --json " + options);
  line.insert(line.end(), {"--resume", run.string()});
  return run_program(line);
}

// Processes that use a core each and do nothing.
class BusyCores {
 public:
  explicit BusyCores(unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      const pid_t child = ::fork();
      if (child == 0) {
        ::alarm(60);
        for (std::atomic<unsigned> spin{0};;) ++spin;
      }
      children_.push_back(child);
    }
  }
  BusyCores(const BusyCores&) = delete;
  BusyCores& operator=(const BusyCores&) = delete;
  ~BusyCores() {
    for (const pid_t child : children_) {
      if (child <= 0) continue;
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }
  }

 private:
  std::vector<pid_t> children_;
};

// What the run has said after some seconds, or as soon as it says that cores are busy.
std::string said_within(const TempFolder& folder, const std::string& options, double seconds) {
  Process process(folder,
                  tiny_run(folder, "run", "--steps 1000000 --eval-every 0 --save-every 0 --d-model 64 " + options));
  const auto said = [&] { return TempFolder::get(folder / "stderr"); };
  wait_until([&] { return has(said(), "too few cores are free"); }, seconds);
  return said();
}

}  // namespace

TEST_CASE("cli threads: a resumed run keeps its number of threads unless another is given") {
  const TempFolder folder;
  const fs::path run = folder / "run";
  const auto stored = [&] {
    const TrainerState state = load_trainer_state(find_generation(run));
    const auto found = state.options.find("threads");
    return found == state.options.end() ? std::string("none") : found->second;
  };
  REQUIRE(run_program(tiny_run(folder, "run", "--steps 20 --stop-after 2 --threads 3")).code == 0);
  CHECK(stored() == "3");
  CHECK(threads_of(resume_run(run, "--stop-after 4")) == "3 threads");
  CHECK(threads_of(resume_run(run, "--stop-after 6 --threads 2")) == "2 threads");
  CHECK(stored() == "2");
  CHECK(threads_of(resume_run(run, "--stop-after 8")) == "2 threads");
  const Finished all = resume_run(run, "--stop-after 10 --threads 0");  // all cores, from now on
  CHECK(all.code == 0);
  CHECK(stored() == "none");
  CHECK(threads_of(resume_run(run, "--stop-after 12")) == threads_of(all));
  const Finished config =
      resume_run(run, "--stop-after 14 --config " + folder.put("run.toml", "threads = 1\n").string());
  CHECK(threads_of(config) == "1 thread");
  CHECK(threads_of(resume_run(run, "--stop-after 16")) == "1 thread");
}

TEST_CASE("cli threads: cores that other programs keep busy are noticed, once, and nothing switches") {
  if (!fs::exists("/proc/self/schedstat")) {
    std::printf("ABSENT: the system does not count how long threads wait for a core\n");
    return;
  }
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  const BusyCores busy(2 * cores);
  const TempFolder folder;
  const std::string text = said_within(folder, "--threads 2", 30);
  INFO(text);
  CHECK(has(text, "mixgrad: too few cores are free: in each second the 2 threads wait "));
  CHECK(has(text, " s for one; --threads 1 is probably faster, with the same bits\n"));
  CHECK(has(text, ", 2 threads\n"));
  const TempFolder one;
  CHECK_FALSE(has(said_within(one, "--threads 1", 2.5), "too few cores are free"));
}

}  // namespace mixgrad::test
