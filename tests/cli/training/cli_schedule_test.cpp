// mixgrad train: both ends of the learning rate, runs that are lengthened, and what is said about it.
#include <doctest/doctest.h>

#include <algorithm>

#include "nn/files/hash.h"
#include "nn/training/checkpoint.h"
#include "tests/support/reliability.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

std::vector<double> rates_of(const Finished& run) {
  std::vector<double> rates;
  for (const Json& line : json_lines(run.out)) rates.push_back(line["lr"].get<double>());
  return rates;
}

std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// As version 0.1 wrote it: without what was added since.
void make_old(const fs::path& trainer_json) {
  nlohmann::json root = nlohmann::json::parse(TempFolder::get(trainer_json));
  for (const char* key : {"schedule", "lineage", "xxh3"}) root.erase(key);
  root["xxh3"] = xxh3_hex(root.dump());
  std::ofstream(trainer_json) << root.dump(2) << "\n";
}

}  // namespace

TEST_CASE("cli schedule: the decay begins with --lr and the last step has --min-lr, for any number of steps") {
  const TempFolder folder;
  int number = 0;
  for (const std::string schedule : {"wsd", "cosine"}) {
    for (const int steps : {1, 2, 5, 20}) {
      CAPTURE(schedule);
      CAPTURE(steps);
      const Finished run = run_program(tiny_run(folder, std::to_string(number++),
                                                "--warmup 0 --lr 1 --min-lr 0.125 --clip 0.0001 --schedule " +
                                                    schedule + " --steps " + std::to_string(steps)));
      const std::vector<double> rates = rates_of(run);
      REQUIRE(rates.size() == static_cast<std::size_t>(steps));
      CHECK(rates.back() == 0.125);
      CHECK((rates.front() == 1 || steps == 1));
      const auto falls = [&](std::ptrdiff_t from) {
        return std::is_sorted(rates.begin() + from, rates.end(), std::greater<>());
      };
      CHECK(falls(0));
      if (schedule == "wsd" && steps == 20) CHECK(std::count(rates.begin(), rates.end(), 1.0) == 17);
      if (schedule == "wsd" && steps == 5) CHECK(std::count(rates.begin(), rates.end(), 1.0) == 4);
    }
  }
  const Finished constant =
      run_program(tiny_run(folder, "constant", "--warmup 2 --lr 0.5 --clip 0.0001 --schedule constant --steps 6"));
  CHECK(rates_of(constant) == std::vector<double>{0.25, 0.5, 0.5, 0.5, 0.5, 0.5});
}

TEST_CASE("cli schedule: --min-lr means nothing to a schedule that never falls") {
  const TempFolder folder;
  const Finished run = run_program(tiny_run(folder, "run", "--steps 2 --schedule constant --min-lr 0.001"));
  CHECK(not_refused(run, 2) == "");
  CHECK(has(run.err, "--min-lr cannot be given here: it belongs to --schedule cosine, wsd"));
  CHECK(run_program(tiny_run(folder, "low", "--steps 2 --schedule constant --lr 1e-6")).code == 0);
  CHECK(load_trainer_state(find_generation(folder / "low")).options.count("min-lr") == 0);
}

TEST_CASE("cli schedule: a warm-up that takes the whole run is said, a shorter one is not") {
  const TempFolder folder;
  for (const auto& [warmup, said] : {std::pair{4, false}, std::pair{5, true}, std::pair{50, true}}) {
    const Finished run = run_program(
        tiny_run(folder, std::to_string(warmup), "--lr 0.5 --min-lr 0 --steps 5 --warmup " + std::to_string(warmup)));
    INFO(run.err);
    CHECK(run.code == 0);
    CHECK(occurrences(run.err, "takes the whole run of 5: the learning rate rises to ") == (said ? 1 : 0));
  }
}

TEST_CASE("cli schedule: --resume --steps lengthens a run, by the schedule of as many steps") {
  const TempFolder folder;
  for (const std::string schedule : {"cosine", "wsd", "constant"}) {
    CAPTURE(schedule);
    const std::string options = "--clip 0.5 --warmup 2 --eval-every 4 --schedule " + schedule;
    const std::string name = folder.path() / schedule;
    REQUIRE(run_program(tiny_run(folder, schedule, options + " --steps 10")).code == 0);
    const Finished whole = run_program(tiny_run(folder, schedule + "30", options + " --steps 30"));
    const Finished rest = run_program(resumption(name, "--steps 30"));
    INFO(rest.err);
    REQUIRE(rest.code == 0);
    CHECK(occurrences(rest.err,
                      "mixgrad: the run is lengthened from 10 to 30 steps and its schedule computed anew: step 11 "
                      "has the learning rate ") == 1);
    const std::vector<double> want = rates_of(whole);
    const std::vector<double> got = rates_of(rest);  // the first line is step 10's, again
    REQUIRE(got.size() == 21);
    CHECK(std::equal(got.begin() + 1, got.end(), want.begin() + 10));
    const TrainerState state = load_trainer_state(find_generation(name));
    CHECK(state.options.at("steps") == "30");
    REQUIRE(state.lengthened.size() == 1);
    CHECK(state.lengthened[0].after == 10);
    CHECK(state.lengthened[0].from == 10);
    CHECK(state.lengthened[0].to == 30);
    // Kept, and not said again.
    const Finished again = run_program(resumption(name, "--steps 40 --stop-after 33"));
    CHECK(has(again.err, "lengthened from 30 to 40 steps"));
    const Finished last = run_program(resumption(name, ""));
    CHECK_FALSE(has(last.err, "lengthened"));
    CHECK(load_trainer_state(find_generation(name)).lengthened.size() == 2);
    CHECK(rates_of(last).back() == (schedule == "constant" ? 0.01 : 1e-4));
  }
}

TEST_CASE("cli schedule: a run of version 0.1 is resumed by the present formula, which is said once") {
  const TempFolder folder;
  REQUIRE(run_program(tiny_run(folder, "run", "--steps 10 --stop-after 4 --min-lr 0.001")).code == 0);
  make_old(fs::canonical(folder / "run/latest") / "trainer.json");
  CHECK(load_trainer_state(find_generation(folder / "run")).schedule_formula == 1);
  const Finished rest = run_program(resumption(folder / "run", "--stop-after 6"));
  INFO(rest.err);
  CHECK(rest.code == 0);
  CHECK(occurrences(rest.err,
                    "mixgrad: this run was begun by version 0.1, whose schedule ended one step short of --min-lr; "
                    "from step 5 on the learning rate reaches it in the last step") == 1);
  CHECK(load_trainer_state(find_generation(folder / "run")).schedule_formula == kScheduleFormula);
  const Finished last = run_program(resumption(folder / "run", ""));
  CHECK_FALSE(has(last.err, "version 0.1"));
  CHECK(rates_of(last).back() == 0.001);
}

}  // namespace mixgrad::test
