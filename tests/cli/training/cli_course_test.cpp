// A run that is resumed from an older generation, `best` beside `latest`, and what the end of a run says of them.
#include <doctest/doctest.h>

#include "nn/training/checkpoint.h"
#include "tests/support/reliability.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

std::string newest_of(const fs::path& run) { return find_generation(run).filename().string(); }

struct Best {
  std::int64_t step = 0;
  double loss = 1e9;
};

// The lowest validation loss of metrics.jsonl, the first of several.
Best best_of(const fs::path& run) {
  Best best;
  for (const Json& line : json_lines(TempFolder::get(run / "metrics.jsonl"))) {
    if (line["val_loss"].is_null() || line["val_loss"].get<double>() >= best.loss) continue;
    best = {.step = line["step"].get<std::int64_t>(), .loss = line["val_loss"].get<double>()};
  }
  return best;
}

const std::string kCourse = "--steps 40 --log-every 1 --eval-every 0 ";

// Of a run with step-10, step-20, step-30: `latest` is taken away as copies do it.
void lose_latest(const fs::path& run, const std::string& how) {
  fs::remove(run / "latest");
  if (how == "dangling") fs::create_symlink("step-99", run / "latest");
  if (how == "text") std::ofstream(run / "latest") << "see the notes\n";
}

}  // namespace

TEST_CASE("cli course: after resuming from an older generation the later ones are never the newest") {
  for (const std::string how : {"absent", "dangling", "text"}) {
    const TempFolder folder;
    const fs::path run = folder / "run";
    // Each part is kept by the rotation of the next: a generation, and the one that it continues.
    REQUIRE(run_program(tiny_run(folder, "run", kCourse + "--save-every 10 --stop-after 30")).code == 0);
    CHECK(saved_steps(run) == "20 30");
    const std::string later = TempFolder::get(run / "step-30/model.safetensors");
    const Finished back = run_program(resumption(run / "step-20", "--save-every 4 --stop-after 25"));
    INFO(back.err);
    REQUIRE(back.code == 0);
    CHECK(has(back.err, "mixgrad: each later generation is kept until the resumed run has passed its step: step-30"));
    CHECK(
        has(back.err, "metrics.jsonl: the lines after step 19 are left out; the file as it was is metrics.jsonl.bak"));
    CHECK(lines_of(TempFolder::get(run / "metrics.jsonl.bak")).size() == 30);
    CHECK(saved_steps(run) == "24 25 30");
    CHECK(TempFolder::get(run / "step-30/model.safetensors") == later);
    const TrainerState state = load_trainer_state(run / "step-25");
    CHECK(state.course == 1);
    CHECK(state.parent == 24);
    CHECK(load_trainer_state(run / "step-24").parent == 20);
    lose_latest(run, how);
    CHECK(newest_of(run) == "step-25");
    for (const char* line : {"eval --checkpoint ", "generate --tokens 1 --prompt a --checkpoint "}) {
      CHECK(mixgrad(line + run.string()).code == 0);
    }
    // It continues from there, and passes the one that was left.
    const Finished rest = run_program(resumption(run, "--save-every 4"));
    CHECK(has(rest.err, "resuming from " + fs::canonical(run / "..").string()));
    CHECK(has(rest.err, "step-25, after step 25 of 40"));
    CHECK_FALSE(has(rest.err, "each later generation"));
    CHECK(saved_steps(run) == "36 40");
    CHECK(load_trainer_state(run / "step-40").course == 1);
    CHECK(metrics_of(run).find("\"step\":40") != std::string::npos);
  }
}

TEST_CASE("cli course: nothing is deleted before the other course has saved") {
  const TempFolder folder;
  const fs::path run = folder / "run";
  REQUIRE(run_program(tiny_run(folder, "run", kCourse + "--save-every 10 --stop-after 30")).code == 0);
  const std::string metrics = TempFolder::get(run / "metrics.jsonl");
  Process process(folder, resumption(run / "step-20", "--save-every 0 --steps 1000000"));
  REQUIRE(wait_until([&] { return has(TempFolder::get(folder / "stderr"), "each later generation"); }));
  process.signal(SIGKILL);
  CHECK(process.wait(10).code == 128 + SIGKILL);
  CHECK(saved_steps(run) == "20 30");
  CHECK(newest_of(run) == "step-30");
  const fs::path kept = fs::exists(run / "metrics.jsonl.bak") ? run / "metrics.jsonl.bak" : run / "metrics.jsonl";
  CHECK(TempFolder::get(kept) == metrics);
}

TEST_CASE("cli course: a copy whose links were followed keeps its course") {
  const TempFolder folder;
  REQUIRE(run_program(tiny_run(folder, "run", kCourse + "--save-every 10 --stop-after 30")).code == 0);
  REQUIRE(run_program(resumption(folder / "run/step-20", "--save-every 4 --stop-after 25")).code == 0);
  fs::copy(folder / "run", folder / "copy", fs::copy_options::recursive);
  const Finished rest = run_program(resumption(folder / "copy", "--stop-after 27"));
  INFO(rest.err);
  CHECK(rest.code == 0);
  CHECK_FALSE(has(rest.err, "each later generation"));
  CHECK(load_trainer_state(find_generation(folder / "copy")).course == 1);
  CHECK(saved_steps(folder / "copy") == "25 27 30");
}

TEST_CASE("cli course: a run that continues in another folder keeps its course") {
  const TempFolder folder;
  REQUIRE(run_program(tiny_run(folder, "run", kCourse + "--save-every 10 --stop-after 30")).code == 0);
  const Finished other =
      run_program(resumption(folder / "run/step-20", "--stop-after 25 --out " + (folder / "other").string()));
  REQUIRE(other.code == 0);
  CHECK(saved_steps(folder / "run") == "20 30");
  CHECK(newest_of(folder / "other") == "step-25");
  CHECK(load_trainer_state(find_generation(folder / "other")).course == 0);
  CHECK_FALSE(fs::exists(folder / "run/metrics.jsonl.bak"));
}

TEST_CASE("cli best: the generation of the lowest validation loss has a link, is kept, read and named at the end") {
  const TempFolder folder;
  const fs::path run = folder / "run";
  // At a constant rate the validation loss falls, mostly; metrics.jsonl says which of the three is the lowest.
  const Finished good = run_program(tiny_run(
      folder, "run", "--steps 12 --eval-every 4 --save-every 2 --lr 0.01 --min-lr 0.01 --schedule wsd --warmup 0"));
  INFO(good.err);
  REQUIRE(good.code == 0);
  const auto [step, lowest] = best_of(run);
  const std::string best = generation_name(step);
  CHECK(fs::read_symlink(run / "best") == best);
  const bool both = best == "step-12";
  CHECK(has(good.err, both ? "saved in " + run.string() + ": latest and best are step-12; tensors"
                           : "saved in " + run.string() + ": latest is step-12, best is " + best));
  const Finished eval = mixgrad("eval --json --threads 1", {"--checkpoint", (run / "best").string()});
  CHECK(eval.code == 0);
  CHECK(json_of(eval.out)["loss"].get<double>() == doctest::Approx(lowest).epsilon(1e-12));
}

TEST_CASE("cli best: a later generation that is worse leaves it where it was") {
  const TempFolder folder;
  const fs::path run = folder / "run";
  const Finished spoiled = run_program(
      tiny_run(folder, "run", "--steps 20 --eval-every 1 --save-every 0 --lr 1000 --warmup 2000 --clip 100"));
  INFO(spoiled.err);
  REQUIRE(spoiled.code == 0);
  const auto [best, lowest] = best_of(run);
  REQUIRE(best < 20);
  const std::string name = generation_name(best);
  CHECK(fs::read_symlink(run / "best") == name);
  CHECK(fs::read_symlink(run / "latest") == "step-20");
  char text[100];
  std::snprintf(text, sizeof text, ": latest is step-20, best is %s (%.4f); tensors", name.c_str(), lowest);
  CHECK(has(spoiled.err, text));
  CHECK(find_generation(run / "best").filename() == name);
  CHECK(mixgrad("generate --tokens 2 --prompt a", {"--checkpoint", (run / "best").string()}).code == 0);
  CHECK(mixgrad("inspect model", {"--checkpoint", (run / "best").string()}).code == 0);
  // Resuming from it is another course, into another folder it keeps the number alone.
  const Finished other = run_program(resumption(run, "--steps 21 --out " + (folder / "other").string()));
  INFO(other.err);
  CHECK(other.code == 0);
  REQUIRE_FALSE(fs::exists(folder / "other/best"));
  std::snprintf(text, sizeof text, "best is %s (%.4f) of the run that was resumed; tensors", name.c_str(), lowest);
  CHECK(has(other.err, text));
}

}  // namespace mixgrad::test
