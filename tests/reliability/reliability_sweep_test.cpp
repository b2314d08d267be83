// A sweep that is killed, stopped and started again.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "tests/support/reliability.h"

namespace mixgrad::test {
namespace {

// The rows of `mixgrad sweep --format json` without what depends on the clock.
nlohmann::json table_of(const std::string& lines) {
  nlohmann::json table = nlohmann::json::array();
  for (const std::string& line : lines_of(lines)) {
    nlohmann::json row = nlohmann::json::parse(line);
    row.erase("ms_per_step");
    row.erase("seconds");
    table.push_back(std::move(row));
  }
  return table;
}

TEST_CASE("reliability: a sweep that ends at random times ends with the table of one that does not") {
  const TempFolder folder;
  folder.put("text.txt", small_text());
  folder.put("sweep.toml",
             "mixer = [\"attention\", \"hsm:scalar\"]\nseed = [1, 2, 3]\nlayers = 1\nd-model = 16\nheads = 2\n"
             "context = 16\nbatch = 4\nsteps = 80\nsave-every = 20\nthreads = 1\n"
             "data = \"" +
                 (folder / "text.txt").string() + "\"\n");
  const auto sweep = [&](const std::string& out, const std::string& jobs) {
    return Arguments{
        "sweep",    "--config", (folder / "sweep.toml").string(), "--out", (folder / out).string(), "--jobs", jobs,
        "--format", "json"};
  };
  const Finished whole = run_program(sweep("whole", "1"));
  INFO(whole.err);
  REQUIRE(whole.code == 0);
  const nlohmann::json table = table_of(whole.out);
  REQUIRE(table.size() == 2);

  std::mt19937 random(7);
  const int wanted = times(4, 20);
  int ends = 0;
  int sweeps = 0;
  while (ends < wanted) {
    const std::string out = "sweep-" + std::to_string(sweeps++);
    for (;;) {
      const bool kill = random() % 2 == 0;
      const std::string jobs = random() % 2 == 0 ? "1" : "2";
      Process process(folder, sweep(out, jobs));
      pause_for(std::uniform_real_distribution<double>(0.02, kSanitized ? 3.0 : 0.4)(random));
      process.signal(kill ? SIGKILL : SIGTERM);
      const Finished finished = process.wait(60);
      INFO(finished.err);
      if (finished.code == 0) break;  // it was quicker
      REQUIRE(finished.code == 128 + (kill ? SIGKILL : SIGTERM));
      if (++ends == wanted) break;
    }
    const Finished last = run_program(sweep(out, "2"));
    INFO(last.err);
    REQUIRE(last.code == 0);
    CHECK(table_of(last.out) == table);
  }
  figure("a sweep of six runs, killed or stopped at random times",
         std::to_string(ends) + " times in " + std::to_string(sweeps) +
             " sweeps, started again each time: the same table in all");
}

}  // namespace
}  // namespace mixgrad::test
