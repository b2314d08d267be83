// mixgrad study: its rows, its files, that a killed study ends with the same figures, and what is refused.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "nn/files/file.h"
#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

// Starts the program and kills it with SIGKILL after a while.
void kill_after(const Arguments& arguments, int milliseconds) {
  const pid_t child = fork();
  if (child == 0) {
    std::vector<char*> all{const_cast<char*>(MIXGRAD_BINARY)};
    for (const std::string& argument : arguments) all.push_back(const_cast<char*>(argument.c_str()));
    all.push_back(nullptr);
    const int nothing = open("/dev/null", O_WRONLY);
    dup2(nothing, STDOUT_FILENO);
    dup2(nothing, STDERR_FILENO);
    execv(MIXGRAD_BINARY, all.data());
    _exit(1);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
}

struct Study {
  TempFolder folder;
  std::string config;

  explicit Study(const std::string& more) {
    REQUIRE(train_tiny(folder, "base", "--steps 5 --layers 2 --heads 4").code == 0);
    config = (folder / "study.toml").string();
    folder.put("study.toml", "checkpoint = \"" + (folder / "base").string() +
                                 "\"\nfractions = [0.5]\nwindow = 2\nsequences = 4\nsteps = 20\nbatch = 2\nwarmup = "
                                 "2\neval-every = 0\nsave-every = 5\nlog-every = 5\ntiming-lengths = [16, 64]\n" +
                                 more);
  }
  Arguments command(const std::string& out) const {
    return {"study", "recurformer", "--config", config, "--out", (folder / out).string(), "--jobs", "2"};
  }
  Json results(const std::string& out) const { return json_of(read_text(folder / out / "results.json")); }
};

// The losses of all rows, which no time is part of.
std::string losses_of(const Json& results) {
  std::string text;
  for (const Json& row : results["rows"]) text += row["row"].get<std::string>() + " " + row["score"].dump() + "\n";
  return text;
}

TEST_CASE("cli study: base, base trained on, and variants; killed again and again it ends with the same losses") {
  const Study study("variants = [\"recurformer\", \"window\"]\nseeds = [1, 2]\n");
  const Finished whole = run_program(study.command("whole"));
  REQUIRE_MESSAGE(whole.code == 0, whole.err);
  CHECK(has(whole.out, "| recurformer 50 % | 2 |"));
  const Json results = study.results("whole");
  CHECK(results["rows"].size() == 2 * 4);
  CHECK(results["groups"].size() == 4);
  for (const Json& group : results["groups"]) {
    CHECK(group["loss"]["count"] == 2);
    for (const Json& cost : group["decoding"]) {
      CHECK(cost["state_bytes"] == cost["formula_bytes"]);
      CHECK(cost["us_per_token"].get<double>() > 0);
    }
  }
  CHECK(results["groups"][0]["decoding"].size() == 2);
  // Half of the keys and values are gone, but for the constant part of the Mamba heads.
  CHECK(results["groups"][2]["decoding"][1]["state_bytes"].get<double>() <
        0.8 * results["groups"][0]["decoding"][1]["state_bytes"].get<double>());
  for (const Json& row : results["rows"]) CHECK(has(row["command"].get<std::string>(), "mixgrad eval"));
  for (const char* file : {"study.md", "study.csv", "loss.svg", "time.svg", "cache.svg"}) {
    CHECK_MESSAGE(fs::file_size(study.folder / "whole" / file) > 200, file);
  }
  for (int i = 0; i < 6; ++i) kill_after(study.command("killed"), 150 + 100 * i);
  const Finished ended = run_program(study.command("killed"));
  REQUIRE_MESSAGE(ended.code == 0, ended.err);
  CHECK(losses_of(study.results("killed")) == losses_of(results));
}

TEST_CASE("cli study: a teacher with both stages, and every variant") {
  const Study study(
      "seeds = [3]\ndistill = true\ndistill-head-steps = 4\nnew-lr-scale = 2\nvariants = [\"recurformer\", \"random\", "
      "\"lowest\", \"ablation\", \"window\", \"shift\"]\n");
  const Finished dry = run_program(
      {"study", "recurformer", "--config", study.config, "--out", (study.folder / "x").string(), "--dry-run"});
  CHECK(lines_of(dry.out).size() == 8);
  CHECK_FALSE(fs::exists(study.folder / "x"));
  const Finished run = run_program(study.command("x"));
  REQUIRE_MESSAGE(run.code == 0, run.err);
  CHECK(json_of(read_text(study.folder / "x" / "recurformer-0.5-seed3" / "run" / "latest" / "trainer.json"))
            .contains("teacher"));
  CHECK(fs::exists(study.folder / "x" / "shift-0.5-seed3" / "heads"));
  CHECK_FALSE(fs::exists(study.folder / "x" / "window-0.5-seed3" / "heads"));
  // The new heads alone learn faster; the base trained on and the windows have none.
  const auto command_of = [&](const std::string& row) {
    for (const std::string& line : lines_of(dry.out)) {
      if (line.rfind(row + "-", 0) == 0) return line;
    }
    return std::string();
  };
  for (const char* row : {"recurformer", "random", "lowest", "ablation"}) {
    CHECK_MESSAGE(has(command_of(row), "--lr-scale '*.mamba.*=2'"), command_of(row));
  }
  CHECK(has(command_of("shift"), "--lr-scale '*.shift.*=2'"));
  CHECK_FALSE(has(command_of("window") + command_of("longer") + command_of("base"), "lr-scale"));
}

TEST_CASE("cli study: without data in its config it takes those of the base, also the shipped text") {
  const TempFolder folder;
  const std::string base = (folder / "base").string();
  REQUIRE(mixgrad("train --layers 1 --d-model 16 --heads 2 --context 8 --batch 2 --steps 1 --warmup 1 --threads 1 "
                  "--sample-tokens 0 --eval-every 0",
                  {"--out", base})
              .code == 0);
  folder.put("study.toml", "checkpoint = \"" + base + "\"\nseeds = [1]\n");
  const Finished dry = run_program({"study", "recurformer", "--config", (folder / "study.toml").string(), "--out",
                                    (folder / "x").string(), "--dry-run"});
  REQUIRE_MESSAGE(dry.code == 0, dry.err);
  for (const std::string& line : lines_of(dry.out)) {
    if (line.rfind("base-", 0) != 0) CHECK_MESSAGE(has(line, "tinyshakespeare.txt"), line);
  }
}

TEST_CASE("cli study: what is refused") {
  const Study study("seeds = [1]\n");
  const auto refused = [&](const std::string& text, const std::string& message) {
    study.folder.put("bad.toml", text);
    const Finished run = run_program({"study", "recurformer", "--config", (study.folder / "bad.toml").string(), "--out",
                                      (study.folder / "x").string()});
    CHECK(run.code == 2);
    CHECK_MESSAGE(has(run.err, message), run.err);
    CHECK_FALSE(fs::exists(study.folder / "x"));
  };
  refused("steps = 3\n", "the key checkpoint is required");
  refused("checkpoint = \"b\"\nvariants = [\"mamba\"]\n", "a variant must be one of recurformer, random, lowest");
  refused("checkpoint = \"b\"\nfractions = [0]\n", "a fraction must be above 0 and at most 1; got \"0\"");
  refused("checkpoint = \"b\"\nseeds = [1, 1]\n", "the values of seeds must differ");
  refused("checkpoint = \"b\"\nout = \"c\"\n", "out cannot be given here");
  refused("checkpoint = \"b\"\nlr = [1, 2]\n", "got \"lr\"; an option of train takes one value");
  refused("checkpoint = \"b\"\nfraction = [0.5]\n", "got \"fraction\"; did you mean \"fractions\"?");
  refused("checkpoint = \"b\"\ndistill-head-steps = 4\n", "it belongs to distill = true");
  refused("checkpoint = \"b\"\nnew-lr-scale = 0\n", "new-lr-scale must be above 0 and at most 1000; got \"0\"");
  refused("checkpoint = \"b\"\nnew-lr-scale = 2\nlr-scale = \"embed.*=2\"\n", "beside it lr-scale cannot be given");
  REQUIRE(run_program(
              {"study", "recurformer", "--config", study.config, "--out", (study.folder / "y").string(), "--dry-run"})
              .code == 0);
  fs::create_directories(study.folder / "y");
  study.folder.put("y/other.txt", "mine");
  const Finished taken = run_program(study.command("y"));
  CHECK(taken.code == 2);
  CHECK_MESSAGE(has(taken.err, "holds something else"), taken.err);
  // A row that fails names its log; the others are done.
  study.folder.put("bad.toml", "checkpoint = \"" + (study.folder / "base").string() +
                                   "\"\nseeds = [1]\nfractions = "
                                   "[0.5]\nvariants = [\"window\"]\nsteps = 2\nlr = -1\ntiming-lengths = [8]\n");
  const Finished failed = run_program({"study", "recurformer", "--config", (study.folder / "bad.toml").string(),
                                       "--out", (study.folder / "z").string()});
  CHECK(failed.code == 1);
  CHECK_MESSAGE(has(failed.err, "2 rows of the study failed: longer-seed1"), failed.err);
}

}  // namespace
}  // namespace mixgrad::test
