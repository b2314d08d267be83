// The system refuses: the n-th call that writes, for every n; a limit of size; a full disk; a folder that is read-only.
#include <doctest/doctest.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstring>

#include "nn/files/generations.h"
#include "tests/support/reliability.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

// A run that has two steps, to be resumed up to step four in the face of faults; how it must come out without any.
class Faulty {
 public:
  Faulty() {
    const std::string options = "--steps 4 --save-every 1 --eval-every 0";
    REQUIRE(run_program(tiny_run(folder, "base", options + " --stop-after 2")).code == 0);
    REQUIRE(run_program(tiny_run(folder, "straight", options)).code == 0);
    expected = weights_of(folder / "straight");
  }

  fs::path fresh() const {
    fs::remove_all(folder / "run");
    fs::copy(folder / "base", folder / "run", fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    return folder / "run";
  }

  // After a fault: nothing that was saved is lost, and without the fault the run continues to the same bits.
  void check_intact(const fs::path& run) const {
    CHECK(damage(run) == "");
    CHECK(generations(run).size() >= 2);  // the newest two
    const Finished again = run_program(resumption(run, ""));
    INFO(again.err);
    CHECK(again.code == 0);
    CHECK(weights_of(run) == expected);
    for (const auto& item : fs::directory_iterator(run)) CHECK(item.path().filename().string()[0] != '.');
  }

  TempFolder folder;
  std::string expected;
};

TEST_CASE("reliability: the n-th open, write, fsync, close, rename, symlink, mkdir fails, for every n") {
  if (kSanitized) return;  // a sanitizer must be the first library that is loaded
  const Faulty faulty;
  ProcessSetting setting;
  setting.environment = {{"LD_PRELOAD", MIXGRAD_FAULT_SHIM},
                         {"MIXGRAD_FAULT_UNDER", (faulty.folder / "run").string()},
                         {"MIXGRAD_FAULT_COUNTS", (faulty.folder / "counts").string()}};
  Process count(faulty.folder, resumption(faulty.fresh(), ""), setting);
  REQUIRE(count.wait(20).code == 0);
  setting.environment.erase("MIXGRAD_FAULT_COUNTS");
  std::istringstream counts(TempFolder::get(faulty.folder / "counts"));
  std::string result;
  int total = 0;
  int unharmed = 0;
  const std::map<std::string, std::vector<int>> errors{
      {"open", {EACCES}},   {"write", {ENOSPC, EIO}}, {"fsync", {EIO}},   {"close", {EIO}},
      {"rename", {EACCES}}, {"symlink", {ENOSPC}},    {"mkdir", {ENOSPC}}};
  std::string kind;
  for (int calls = 0; counts >> kind >> calls;) {
    CHECK(calls > 0);
    result += (result.empty() ? "" : ", ") + kind + " " + std::to_string(calls);
    for (int n = 1; n <= calls; n += times(5, 1)) {
      for (const int error : errors.at(kind)) {
        ++total;
        setting.environment["MIXGRAD_FAULT"] = kind + ":" + std::to_string(n) + ":" + std::to_string(error);
        INFO(setting.environment["MIXGRAD_FAULT"]);
        const fs::path run = faulty.fresh();
        Process process(faulty.folder, resumption(run, ""), setting);
        const Finished finished = process.wait(20);
        INFO(finished.err);
        if (finished.code == 0) {  // closing the lock and metrics.jsonl at the very end
          ++unharmed;
          CHECK(kind == "close");
          CHECK(weights_of(run) == faulty.expected);
          continue;
        }
        CHECK(finished.code == 4);
        CHECK(has(finished.err, "mixgrad: " + run.string()));
        CHECK(has(finished.err, std::strerror(error)));
        faulty.check_intact(run);
      }
    }
  }
  CHECK(unharmed <= 2);
  figure("the n-th call fails (" + result + ")",
         std::to_string(total) + " runs: previous generation intact in all, exit code 4 with path and reason in " +
             std::to_string(total - unharmed) + ", " + std::to_string(unharmed) +
             " unharmed (the last two closes: the lock, metrics.jsonl)");
}

TEST_CASE("reliability: a limit of file size at any byte") {
  const Faulty faulty;
  int stopped = 0;
  const int step = times(4001, 500);
  for (rlim_t limit = 1; limit < 36'000; limit += static_cast<rlim_t>(step)) {
    CAPTURE(limit);
    const fs::path run = faulty.fresh();
    ProcessSetting setting;
    setting.file_bytes = limit;
    Process process(faulty.folder, resumption(run, ""), setting);
    const Finished finished = process.wait(20);
    if (finished.code == 0) continue;  // larger than the largest file
    ++stopped;
    CHECK(finished.code == 4);
    if (limit > 2000) {  // else it is the message itself that does not fit
      INFO(finished.err);
      CHECK(has(finished.err, "File too large"));
      CHECK(has(finished.err, run.string()));
    }
    faulty.check_intact(run);
  }
  CHECK(stopped > 1);
  figure("RLIMIT_FSIZE in steps of " + std::to_string(step) + " bytes",
         std::to_string(stopped) + " runs stopped, previous generation intact in all");
}

// A file system of its own in memory, where the system lets us.
class Mounted {
 public:
  Mounted(fs::path at, const char* options) : at_(std::move(at)) {
    fs::create_directories(at_);
    good_ = ::mount("none", at_.c_str(), "tmpfs", 0, options) == 0;
  }
  Mounted(const Mounted&) = delete;
  Mounted& operator=(const Mounted&) = delete;
  ~Mounted() {
    if (good_) ::umount2(at_.c_str(), MNT_DETACH);
  }
  bool good() const { return good_; }
  void read_only() const { ::mount("none", at_.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, ""); }

 private:
  fs::path at_;
  bool good_ = false;
};

TEST_CASE("reliability: a disk of 1 MiB that is full, and a folder that is read-only") {
  const Faulty faulty;
  const fs::path disk = faulty.folder / "disk";
  const Mounted mounted(disk, "size=1m");
  if (!mounted.good()) {
    std::puts("ABSENT: mounting a tmpfs is not allowed here (root is needed)");
    return;
  }
  const fs::path run = disk / "run";
  const auto refill = [&](std::size_t free_kib) {
    fs::remove_all(run);
    fs::remove(disk / "filler");
    fs::copy(faulty.folder / "base", run, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    const auto room = fs::space(disk).available;
    TempFolder::get(disk / "none");
    std::ofstream(disk / "filler") << std::string(room - std::min(room, free_kib * 1024), 'x');
  };
  const auto intact_elsewhere = [&] {
    fs::remove_all(faulty.folder / "run");
    fs::copy(run, faulty.folder / "run", fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    faulty.check_intact(faulty.folder / "run");
  };
  int refused = 0;
  int runs = 0;
  for (std::size_t free_kib = 0; free_kib <= 200; free_kib += static_cast<std::size_t>(times(40, 4))) {
    refill(free_kib);
    CAPTURE(free_kib);
    ++runs;
    Process process(faulty.folder, resumption(run, ""));
    const Finished finished = process.wait(20);
    INFO(finished.err);
    if (finished.code == 0) continue;
    ++refused;
    CHECK(finished.code == 4);
    CHECK(has(finished.err, "must fit on the disk ("));
    CHECK(has(finished.err, " are free; make room"));
    CHECK(has(finished.err, run.string()));
    intact_elsewhere();
  }
  CHECK(refused > 1);
  refill(400);
  mounted.read_only();
  Process process(faulty.folder, resumption(run, ""));
  const Finished finished = process.wait(20);
  INFO(finished.err);
  CHECK(finished.code == 4);
  CHECK(has(finished.err, "Read-only file system"));
  CHECK(has(finished.err, run.string()));
  intact_elsewhere();
  figure("a tmpfs of 1 MiB, full to a different degree each time",
         std::to_string(runs) + " runs, " + std::to_string(refused) +
             " refused with need and have; read-only folder refused; previous generation intact in all");
}

}  // namespace
}  // namespace mixgrad::test
