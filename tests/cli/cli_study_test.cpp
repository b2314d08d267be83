// mixgrad study: its rows, its files, that a killed study ends with the same figures, and what is refused.
#include <doctest/doctest.h>

#include <csignal>
#include <filesystem>
#include <system_error>

#include "nn/files/file.h"
#include "nn/files/folder.h"
#include "nn/files/generations.h"
#include "tests/support/process.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

// How far a study has come: its steps that are done, and the saves of those that train, one every 5 steps.
int progress_of(const fs::path& study) {
  std::error_code error;
  int progress = 0;
  for (auto row = fs::directory_iterator(study, error); !error && row != fs::directory_iterator();
       row.increment(error)) {
    std::error_code of_row;
    for (auto file = fs::directory_iterator(row->path(), of_row); !of_row && file != fs::directory_iterator();
         file.increment(of_row)) {
      if (file->path().extension() == ".done") ++progress;
    }
    const std::vector<std::int64_t> steps = generations(row->path() / "run");
    if (!steps.empty()) progress += static_cast<int>(steps.back() / 5);
  }
  return progress;
}

// Starts the program and kills it with SIGKILL as soon as the study has come so far.
void kill_at(const Arguments& arguments, const fs::path& study, int progress) {
  const TempFolder outputs;
  Process process(outputs, arguments);
  CHECK(wait_until([&] { return fs::exists(study / "study.json") && progress_of(study) >= progress; }, 120));
  process.signal(SIGKILL);
  process.wait(60);
}

// A study takes longer than other commands of the tests.
Finished run_study(const Arguments& arguments) {
  const TempFolder outputs;
  return Process(outputs, arguments).wait(300);
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
  const Finished whole = run_study(study.command("whole"));
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
  // Each seed has 10 steps and 12 saves.
  for (const int progress : {0, 2, 7, 15, 26, 38}) kill_at(study.command("killed"), study.folder / "killed", progress);
  const Finished ended = run_study(study.command("killed"));
  REQUIRE_MESSAGE(ended.code == 0, ended.err);
  CHECK(losses_of(study.results("killed")) == losses_of(results));
}

TEST_CASE("cli study: a teacher with both stages, and every variant") {
  const Study study(
      "seeds = [3]\ndistill = true\ndistill-head-steps = 4\ndistill-mix = 0.3\ndistill-temperature = 2\nnew-lr-scale = "
      "2\nvariants = [\"recurformer\", \"random\", "
      "\"lowest\", \"ablation\", \"window\", \"shift\"]\n");
  const Finished dry = run_program(
      {"study", "recurformer", "--config", study.config, "--out", (study.folder / "x").string(), "--dry-run"});
  CHECK(lines_of(dry.out).size() == 8);
  CHECK_FALSE(fs::exists(study.folder / "x"));
  const Finished run = run_study(study.command("x"));
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
  // The stage of the heads takes neither.
  for (const char* option : {"--distill-mix 0.3", "--distill-temperature 2"}) {
    CHECK_FALSE(has(command_of("longer"), option));
    const std::string line = command_of("recurformer");
    CHECK_MESSAGE((has(line, option) && line.find(option) == line.rfind(option)), line);
  }
}

TEST_CASE("cli study: a base on the shipped text, on several sources with --reset-state, and on a task") {
  const TempFolder folder;
  const std::string small =
      "train --json --steps 2 --layers 1 --d-model 16 --heads 2 --batch 2 --threads 1 --warmup 1 ";
  for (const char* name : {"a 1", "b'2", "c.txt", "d.txt"}) folder.put(name, small_text());
  REQUIRE(mixgrad(small + "--context 8 --valid 0.01", {"--out", (folder / "shipped").string()}).code == 0);
  Arguments several = words(small + "--context 8 --reset-state --data");
  for (const char* name : {"a 1", "b'2"}) several.push_back((folder / name).string());
  several.insert(several.end(), {"--valid", (folder / "c.txt").string(), (folder / "d.txt").string()});
  several.insert(several.end(), {"--document-token", "m", "--out", (folder / "several").string()});
  REQUIRE(run_program(several).code == 0);
  REQUIRE(mixgrad(small + "--task copy(count=3,vocab=6)", {"--out", (folder / "task").string()}).code == 0);
  const std::string in = folder.path().string() + "/";
  const std::string sources =
      "--data '" + in + "a 1' '" + in + "b'\\''2' --document-token m --valid " + in + "c.txt " + in + "d.txt";
  for (const std::string base : {"shipped", "several", "task"}) {
    INFO(base);
    const std::string checkpoint = (folder / base).string();
    const std::string out = (folder / ("study of " + base)).string();
    std::string text = "checkpoint = \"";
    text += checkpoint;
    text +=
        "\"\nvariants = [\"recurformer\"]\nfractions = [0.5]\nseeds = [1]\nsequences = 4\nsteps = 2\nbatch = 2\nwarmup "
        "= 1"
        "\ntiming-lengths = [8]\n";
    if (base == "task") text += "eval-sequences = 20\neval-tasks = [\"copy(count=2,vocab=5)\"]\n";
    const std::string config = folder.put(base + ".toml", text).string();
    const Arguments command{"study", "recurformer", "--config", config, "--out", out};
    Arguments dry = command;
    dry.push_back("--dry-run");
    const std::vector<std::string> lines = lines_of(run_program(dry).out);
    REQUIRE(lines.size() == 3);
    CHECK_MESSAGE(has(lines[1], "--out '" + out + "/longer-seed1/run'"), lines[1]);
    for (const std::string& line : {lines[1], lines[2]}) {
      if (base == "shipped") CHECK_MESSAGE(has(line, "tinyshakespeare.txt --valid 0.01"), line);
      if (base == "several") CHECK_MESSAGE(has(line, sources + " --reset-state"), line);
      if (base == "task") CHECK_MESSAGE(has(line, "--task 'copy(count=3,vocab=6)'"), line);
    }
    const std::size_t convert = lines[2].find("mixgrad convert");
    const std::size_t train = lines[2].find("mixgrad train");
    REQUIRE(convert < train);
    CHECK_FALSE(has(lines[2].substr(convert, train - convert), "--reset-state"));
    const Finished run = run_study(command);
    REQUIRE_MESSAGE(run.code == 0, run.err);
    const Json results = json_of(read_text(out + "/results.json"));
    CHECK(results["rows"].size() == 3);
    for (const Json& row : results["rows"]) CHECK(row["score"]["loss"].get<double>() > 0);
  }
}

TEST_CASE("cli study: arrays of sources and flags of the config reach convert, train and eval as each takes them") {
  const Study study(
      "seeds = [1]\nvariants = [\"recurformer\"]\ndata = [\"a.txt\", \"b.txt\"]\nvalid = [\"c.txt\", "
      "\"d.txt\"]\ndocument-token = \"x\"\nreset-state = true\nrecompute = true\ndropout = 0.1\n");
  Arguments dry = study.command("x");
  dry.push_back("--dry-run");
  const Finished run = run_program(dry);
  REQUIRE_MESSAGE(run.code == 0, run.err);
  const std::vector<std::string> lines = lines_of(run.out);
  REQUIRE(lines.size() == 3);
  const std::string sources = "--data a.txt b.txt --valid c.txt d.txt --document-token x";
  CHECK_MESSAGE(has(lines[0], sources + " --reset-state"), lines[0]);
  CHECK_MESSAGE(has(lines[1], sources + " --reset-state"), lines[1]);
  CHECK_MESSAGE(has(lines[1], "--recompute=true"), lines[1]);
  CHECK_MESSAGE(has(lines[2], "mixgrad convert"), lines[2]);
  CHECK_MESSAGE(has(lines[2], sources + " --threads"), lines[2]);
  CHECK_MESSAGE(has(lines[2], sources + " --reset-state"), lines[2]);
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
    // What train says of its own options is handed on.
    const Finished run = run_unchecked({"study", "recurformer", "--config", (study.folder / "bad.toml").string(),
                                        "--out", (study.folder / "x").string()});
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
  study.folder.put("y/.study.json.tmp-1", "{");  // of a study that was killed
  const Finished begun = run_program(
      {"study", "recurformer", "--config", study.config, "--out", (study.folder / "y").string(), "--dry-run"});
  CHECK_MESSAGE(begun.code == 0, begun.err);
  study.folder.put("y/other.txt", "mine");
  const Finished taken = run_program(study.command("y"));
  CHECK(taken.code == 2);
  CHECK_MESSAGE(has(taken.err, "holds something else"), taken.err);
  // What is wrong is said before anything is written.
  const std::string base = "checkpoint = \"" + (study.folder / "base").string() + "\"\nsteps = 2\n";
  const auto refused_of_base = [&](const std::string& more, const std::string& message) {
    refused(base + more, message);
  };
  refused_of_base("lr = -1\n", "the rows' train would fail: train: --lr must be a number from 0 to 1000");
  refused_of_base("sede = 3\n", "the rows' train would fail: train: unknown option \"--sede\"");
  refused_of_base("distill = true\ndistill-mix = 2\n",
                  "the rows' train would fail: train: --distill-mix must be a number");
  refused_of_base("distill = \"yes\"\n", "line 3: distill must be true or false; got \"yes\"");
  refused_of_base("distill = 1\n", "line 3: distill must be true or false; got \"1\"");
  refused_of_base("distill-mix = 0.5\n", "line 3: distill-mix: it belongs to distill = true");
  refused_of_base("distill-stage = \"heads\"\n", "distill-stage cannot be given here");
  refused_of_base("trace = \"t.json\"\n", "trace cannot be given here");
  refused_of_base("distill = true\ndistill-head-steps = [1, 2]\n", "distill-head-steps takes one value, not an array");
  refused_of_base("distill = true\ndistill-head-steps = 3\ndropout = 0.1\n",
                  "dropout cannot be given beside distill-head-steps");
  refused_of_base("valid = \"none\"\n", "valid has no effect here: without data");
  refused_of_base("data = \"-\"\n", "data must name files or folders");
  refused_of_base("eval-sequences = 4\n", "eval-sequences has no effect here: the rows are evaluated on a text");
  refused_of_base("eval-tasks = [\"pairity\"]\n", "line 3: task: must be one of");
  refused_of_base("init = \"zero\"\n", "init must be one of");
  refused_of_base("variants = [\"window\"]\nexpand = 2\n", "expand has no effect here: no variant makes Mamba heads");
  refused_of_base("variants = [\"window\"]\ninit = \"default\"\n", "init has no effect here");
  refused_of_base("variants = [\"lowest\"]\nwindow = 2\n", "window has no effect here");
  // A folder belongs to one study at a time.
  fs::create_directories(study.folder / "w");
  {
    const FolderLock lock(study.folder / "w", "this test");
    const Finished second = run_program(study.command("w"));
    CHECK(second.code == 4);
    CHECK_MESSAGE(has(second.err, "only one process may write here at a time; another mixgrad study does"), second.err);
  }
  CHECK(fs::is_empty(study.folder / "w"));
  // A row that fails names its log, and every row is tried.
  study.folder.put("bad.toml", base +
                                   "seeds = [1]\nfractions = [0.5]\nvariants = [\"window\"]\ntiming-lengths = [8]\n"
                                   "eval-tasks = [\"copy(count=3,vocab=600)\"]\n");
  const Finished failed = run_study({"study", "recurformer", "--config", (study.folder / "bad.toml").string(), "--out",
                                     (study.folder / "z").string()});
  CHECK(failed.code == 1);
  CHECK_MESSAGE(has(failed.err, "3 rows of the study failed: base-seed1, longer-seed1"), failed.err);
  CHECK(fs::exists(study.folder / "z" / "longer-seed1" / "eval.done"));
}

}  // namespace
}  // namespace mixgrad::test
