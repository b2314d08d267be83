// --optimizer: its name in trainer.json, which files of earlier versions lack, and what is refused.
#include <doctest/doctest.h>

#include <filesystem>

#include "nn/training/checkpoint.h"
#include "tests/support/cli.h"
#include "tests/support/reliability.h"

namespace mixgrad::test {
namespace {

// A run of two of four steps whose trainer.json has been changed.
template <class Change>
std::filesystem::path changed_run(const TempFolder& folder, const std::string& name, const Change& change) {
  REQUIRE(run_program(tiny_run(folder, name, "--steps 4 --stop-after 2")).code == 0);
  const std::filesystem::path generation = find_generation(folder / name);
  TrainerState state = load_trainer_state(generation);
  change(state.options);
  folder.put(name + "/step-2/trainer.json", to_json(state));
  return folder / name;
}

using Options = std::map<std::string, std::string>;

}  // namespace

TEST_CASE("cli optimizer: a run of the default stores no name, and means it") {
  const TempFolder folder;
  REQUIRE(run_program(tiny_run(folder, "run", "--steps 4")).code == 0);
  const TrainerState state = load_trainer_state(find_generation(folder / "run"));
  CHECK(state.options.count("optimizer") == 0);
  CHECK(state.options.at("beta1") == "0.9");
  const auto absent = changed_run(folder, "absent", [](Options&) {});
  const auto named = changed_run(folder, "named", [](Options& options) { options["optimizer"] = "adamw"; });
  REQUIRE(run_program(resumption(absent, "--optimizer adamw")).code == 0);
  REQUIRE(run_program(resumption(named, "")).code == 0);
  CHECK(weights_of(absent) == weights_of(folder / "run"));
  CHECK(weights_of(named) == weights_of(folder / "run"));
}

TEST_CASE("cli optimizer: unknown names and options are refused, on the command line and in trainer.json") {
  const TempFolder folder;
  const Finished typed = run_program(tiny_run(folder, "run", "--optimizer adam"));
  CHECK(typed.code == 2);
  CHECK(has(typed.err, "--optimizer must be"));
  CHECK(has(typed.err, "\"adam\""));

  const auto unknown = changed_run(folder, "unknown", [](Options& options) { options["optimizer"] = "xyzzy"; });
  const Finished resumed = run_program(resumption(unknown, ""));
  CHECK(resumed.code == 3);
  INFO(resumed.err);
  CHECK(has(resumed.err, "trainer.json: options.optimizer must be"));
  CHECK(has(resumed.err, "\"xyzzy\""));

  const auto missing = changed_run(folder, "missing", [](Options& options) { options.erase("beta2"); });
  const Finished without = run_program(resumption(missing, ""));
  CHECK(without.code == 3);
  CHECK(has(without.err, "trainer.json: options.beta2 is required; it is missing"));
}

}  // namespace mixgrad::test
