// A run that is stopped and resumed gives the files of the run that never stopped.
#include <doctest/doctest.h>

#include <random>

#include "nn/files/generations.h"
#include "tests/support/reliability.h"

namespace mixgrad::test {
namespace {

const std::string kRun =
    " --steps 60 --eval-every 9 --save-every 7 --log-every 2 --layers 2 --accumulate 2 "
    "--mixer hsm:vector(heads=2),attention --d-model 32 --batch 3 ";

TEST_CASE("reliability: N steps straight are k steps and a resumption, to the bit, for any number of threads") {
  const TempFolder folder;
  REQUIRE(run_program(tiny_run(folder, "straight", kRun)).code == 0);
  const std::string weights = weights_of(folder / "straight");
  const std::string metrics = metrics_of(folder / "straight");
  std::mt19937 random(11);
  const int resumptions = times(4, 50);
  int equal = 0;
  for (int i = 0; i < resumptions; ++i) {
    const std::string name = "part" + std::to_string(i);
    const int k = std::uniform_int_distribution<int>(1, 59)(random);
    const std::string threads = " --threads " + std::to_string(1 + random() % 3);
    CAPTURE(k);
    const Finished part = run_program(tiny_run(folder, name, kRun + threads + " --stop-after " + std::to_string(k)));
    REQUIRE(part.code == 0);
    const Finished rest = run_program(resumption(folder / name, "--threads " + std::to_string(1 + random() % 3)));
    INFO(rest.err);
    REQUIRE(rest.code == 0);
    const bool same = weights_of(folder / name) == weights && metrics_of(folder / name) == metrics;
    CHECK(same);
    equal += same ? 1 : 0;
    std::filesystem::remove_all(folder / name);
  }
  figure("random resumptions, model and optimizer equal by memcmp",
         std::to_string(equal) + " of " + std::to_string(resumptions));
}

}  // namespace
}  // namespace mixgrad::test
