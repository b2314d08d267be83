// kill -9 and signals at any moment.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "nn/files/generations.h"
#include "tests/support/reliability.h"

namespace mixgrad::test {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

TEST_CASE("reliability: kill -9 at random times with a save every step loses no generation") {
  const TempFolder folder;
  const std::filesystem::path run = folder / "run";
  const std::string options = "--steps 100000 --eval-every 3 --save-every 1 --schedule wsd";
  std::mt19937 random(5);
  const int kills = times(8, 200);
  int lost = 0;
  std::int64_t step = 0;
  int with_leftovers = 0;
  for (int i = 0; i < kills; ++i) {
    const bool begins = !holds_run(run);
    if (begins) std::filesystem::remove_all(run);  // killed before its first checkpoint
    Process process(folder, begins ? tiny_run(folder, "run", options) : resumption(run, ""));
    pause_for(std::uniform_real_distribution<double>(0.03, 0.4)(random));
    process.signal(SIGKILL);
    const Finished finished = process.wait(10);
    INFO(finished.err);
    REQUIRE(finished.code == 128 + SIGKILL);
    const std::string why = damage(run);
    CHECK(why == "");
    const auto steps = generations(run);
    const bool went_back = !steps.empty() && steps.back() < step;
    CHECK_FALSE(went_back);
    lost += why.empty() && !went_back ? 0 : 1;
    if (!steps.empty()) step = steps.back();
    std::error_code absent;  // killed before it made its folder
    for (const auto& item : std::filesystem::directory_iterator(run, absent)) {
      if (item.path().filename().string().starts_with(".step-")) {
        ++with_leftovers;
        break;
      }
    }
  }
  CHECK(step > 0);
  REQUIRE(run_program(resumption(run, "--stop-after " + std::to_string(step + 1))).code == 0);
  CHECK(generations(run).size() <= 3);  // swept: the newest two and the best
  for (const auto& item : std::filesystem::directory_iterator(run)) {
    CHECK_FALSE(item.path().filename().string().starts_with("."));
  }
  figure("kill -9 with a save every step", std::to_string(kills) + " kills over " + std::to_string(step) + " steps, " +
                                               std::to_string(lost) + " generations lost or unreadable, " +
                                               std::to_string(with_leftovers) +
                                               " half-written ones left and swept at the next start");
}

// Half of the times evaluation follows evaluation, half of the times steps do; the signal comes at any moment.
TEST_CASE("reliability: SIGTERM and SIGINT at random times save and end with 143 and 130") {
  std::mt19937 random(6);
  const int signals = times(8, 100);
  int saved = 0;
  int early = 0;
  double slowest = 0;
  for (int i = 0; i < signals; ++i) {
    const TempFolder folder;
    const bool evaluating = i % 2 == 0;
    const int number = i % 4 < 2 ? SIGTERM : SIGINT;
    Process process(folder,
                    tiny_run(folder, "run",
                             std::string("--steps 1000000 --save-every 0 --eval-every ") + (evaluating ? "1" : "0")));
    pause_for(std::uniform_real_distribution<double>(0.0, 0.2)(random));
    const auto start = Clock::now();
    process.signal(number);
    const Finished finished = process.wait(10);
    slowest = std::max(slowest, seconds_since(start));
    INFO(finished.err);
    if (!holds_run(folder / "run")) {  // before the program could catch it, or before there was a model
      CHECK(finished.code == 128 + number);
      ++early;
      continue;
    }
    CHECK(finished.code == 128 + number);
    CHECK(has(finished.err, number == SIGTERM ? "stopped by SIGTERM after step " : "stopped by SIGINT after step "));
    const std::string why = damage(folder / "run");
    CHECK(why == "");
    const std::int64_t step = generations(folder / "run").back();
    const Finished resumed = run_program(resumption(folder / "run", "--stop-after " + std::to_string(step + 2)));
    INFO(resumed.err);
    CHECK(resumed.code == 0);
    if (finished.code == 128 + number && why.empty() && resumed.code == 0) ++saved;
  }
  CHECK(saved + early == signals);
  char text[200];
  std::snprintf(text, sizeof text,
                "%d sent: %d saved and resumed, %d before there was a model (nothing to save); slowest end %.2f s",
                signals, saved, early, slowest);
  figure("SIGTERM or SIGINT at random times", text);
}

TEST_CASE("reliability: signals while the data is read, during the sample, and twice") {
  const TempFolder folder;
  // 30 MB of several bytes a character: half a second to read.
  std::string text;
  while (text.size() < (kSanitized ? 4'000'000U : 30'000'000U)) text += "Grüße an Zoë — naïve\n";
  folder.put("text.txt", text);
  {
    Process process(folder, tiny_run(folder, "run", "--steps 100000"));
    REQUIRE(wait_until([&] { return process.catches(SIGTERM); }));
    process.signal(SIGTERM);
    const Finished finished = process.wait(10);
    CHECK(finished.code == 143);
    if (!holds_run(folder / "run")) CHECK(has(finished.err, "stopped by SIGTERM before the first step; nothing was"));
  }
  folder.put("text.txt", small_text());
  {
    const std::string options = "--steps 2 --context 64 --d-model 192 --layers 6 --batch 1";
    Process process(folder, without_json(tiny_run(folder, "sample", options)));
    REQUIRE(wait_until([&] { return has(TempFolder::get(folder / "stderr"), "a sample:"); }));
    process.signal(SIGINT);
    const Finished finished = process.wait(kSanitized ? 60 : 10);
    INFO(finished.err);
    CHECK(finished.code == 130);
    CHECK(damage(folder / "sample") == "");
    CHECK(generations(folder / "sample").back() == 2);
  }
  {
    // A step that takes long: the second signal does not wait for its end.
    Process process(folder, tiny_run(folder, "twice", "--steps 5 --accumulate 1000000 --d-model 64"));
    REQUIRE(wait_until([&] { return has(TempFolder::get(folder / "stderr"), "parameters"); }));
    pause_for(kSanitized ? 4 : 0.5);  // into the step
    process.signal(SIGINT);
    CHECK(process.wait(0.3).code == kTimedOut);
    process.signal(SIGINT);
    CHECK(process.wait(5).code == 130);
    CHECK_FALSE(holds_run(folder / "twice"));
  }
}

}  // namespace
}  // namespace mixgrad::test
