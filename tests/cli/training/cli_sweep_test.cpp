// mixgrad sweep: every choice is run once, also when it is killed, and the table is that of the runs.
#include <doctest/doctest.h>

#include <csignal>
#include <filesystem>
#include <system_error>

#include "nn/files/generations.h"
#include "tests/support/process.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

// The options of a small model on a small text, which is put into the folder.
std::string sweep_model(const TempFolder& folder) {
  return "data = \"" + folder.put("text.txt", small_text()).string() +
         "\"\nlayers = 1\nd-model = 16\nheads = 2\ncontext = 16\nbatch = 2\nsteps = 120\neval-every = 40\n"
         "save-every = 20\n";
}

// Loss and options of each row, without times.
std::string losses_of(const std::string& json) {
  std::string text;
  for (const Json& row : json_lines(json)) {
    text += row["group"].get<std::string>() + " " + row["loss"].dump() + " " + row["runs"].dump() + "\n";
  }
  return text;
}

// How far the runs of a sweep have come: the saves of sweep_model that each has made, all runs together (6 each).
int saves_of(const fs::path& sweep) {
  std::error_code error;
  int saves = 0;
  for (auto run = fs::directory_iterator(sweep, error); !error && run != fs::directory_iterator();
       run.increment(error)) {
    const std::vector<std::int64_t> steps = generations(run->path());
    if (!steps.empty()) saves += static_cast<int>(steps.back() / 20);
  }
  return saves;
}

// Starts the program and kills it with SIGKILL as soon as so many saves are there.
void kill_after(const Arguments& arguments, const fs::path& sweep, int saves) {
  const TempFolder outputs;
  Process process(outputs, arguments);
  CHECK(wait_until([&] { return fs::exists(sweep / "sweep.json") && saves_of(sweep) >= saves; }, 120));
  process.signal(SIGKILL);
  process.wait(60);
}

}  // namespace

TEST_CASE("cli sweep: killed again and again, it ends with the same table") {
  const TempFolder folder;
  folder.put("sweep.toml",
             std::string("mixer = [\"attention\", \"hsm:scalar\"]  # two\nseed = [1, 2]\n") + sweep_model(folder));
  const std::string config = (folder / "sweep.toml").string();
  const Arguments whole{"sweep", "--config", config, "--out", (folder / "whole").string(), "--format", "json"};
  const Finished reference = run_program(whole);
  REQUIRE_MESSAGE(reference.code == 0, reference.err);
  CHECK(json_lines(reference.out).size() == 2);
  for (const char* name :
       {"mixer=attention,seed=1", "mixer=attention,seed=2", "mixer=hsm_scalar,seed=1", "mixer=hsm_scalar,seed=2"}) {
    CHECK(fs::exists(folder / "whole" / name / "latest"));
  }
  const Finished again = run_program(whole);  // everything is done
  CHECK(losses_of(again.out) == losses_of(reference.out));
  CHECK(again.err.empty());
  const Arguments killed{"sweep",    "--config", config,   "--out", (folder / "killed").string(),
                         "--format", "json",     "--jobs", "2"};
  for (const int saves : {0, 1, 4, 9, 14, 19}) kill_after(killed, folder / "killed", saves);
  const Finished rest = run_program(killed);
  REQUIRE_MESSAGE(rest.code == 0, rest.err);
  CHECK(losses_of(rest.out) == losses_of(reference.out));
}

TEST_CASE("cli sweep: a dry run trains nothing, and says what every run costs") {
  const TempFolder folder;
  folder.put("sweep.toml", std::string("seed = [1, 2, 3]\nlr = [1e-3, 3e-3]\n") + sweep_model(folder));
  const Finished dry = run_program({"sweep", "--config", (folder / "sweep.toml").string(), "--out",
                                    (folder / "runs").string(), "--dry-run", "--format", "json"});
  REQUIRE_MESSAGE(dry.code == 0, dry.err);
  const std::vector<Json> rows = json_lines(dry.out);
  REQUIRE(rows.size() == 6);
  CHECK(rows[1]["run"] == "seed=1,lr=3e-3");
  for (const Json& row : rows) {
    CHECK(row["minutes"].get<double>() > 0);
    CHECK(row["peak_bytes"].get<std::int64_t>() > 1000);
  }
  CHECK_FALSE(fs::exists(folder / "runs"));
}

TEST_CASE("cli sweep: what is wrong is said before the first run, and nothing is written") {
  const TempFolder folder;
  const std::string out = (folder / "runs").string();
  const auto with = [&](const std::string& text) {
    folder.put("sweep.toml", text);
    // Unchecked: a message of train, which names options of train, is handed on.
    return run_unchecked({"sweep", "--config", (folder / "sweep.toml").string(), "--out", out});
  };
  const auto refused = [&](const std::string& text, const std::string& words_of_error) {
    const Finished got = with(text);
    CAPTURE(got.err);
    CHECK(got.code == 2);
    CHECK(got.err.find(words_of_error) != std::string::npos);
    CHECK_FALSE(fs::exists(out));
  };
  refused("seed = [1, 1]\n", "line 1: the values of seed must differ");
  refused("out = \"x\"\n", "line 1: out cannot be given here: the sweep gives it to each run");
  refused("seed = []\n", "must have at least one value");
  refused("seed = [1, \"a\"]\n", "must be of one type");
  refused("seed = [1 2]\n", "must have commas between its values and end with ] in its line");
  refused("seed = [1, 2\n", "must have commas between its values and end with ] in its line");
  refused("sede = [1, 2]\n", "sede");
  refused(std::string("mixer = [\"attention\", \"atention\"]\n") + sweep_model(folder), "atention");
  CHECK(run_program({"sweep", "--out", out}).code == 2);
  CHECK(run_program({"sweep", "--config", (folder / "sweep.toml").string()}).code == 2);
  CHECK(run_program({"sweep", "--config", (folder / "absent.toml").string(), "--out", out}).code == 4);
  // An array where one value is meant, and one where several are.
  folder.put("train.toml", "steps = [1, 2]\n");
  const Finished array = run_program({"train", "--config", (folder / "train.toml").string(), "--plan"});
  CHECK(array.code == 2);
  CHECK(array.err.find("line 1: steps must be one value; got an array of 2") != std::string::npos);
}

TEST_CASE("cli sweep: another config file in the same folder is refused, a failed run does not stop the others") {
  const TempFolder folder;
  const std::string out = (folder / "runs").string();
  folder.put("sweep.toml", std::string("seed = [1, 2]\n") + sweep_model(folder));
  const Arguments arguments{"sweep", "--config", (folder / "sweep.toml").string(), "--out", out};
  REQUIRE(run_program(arguments).code == 0);
  folder.put("sweep.toml", std::string("seed = [1, 3]\n") + sweep_model(folder));
  const Finished other = run_program(arguments);
  CHECK(other.code == 2);
  CHECK(other.err.find("holds a sweep with other options") != std::string::npos);
  folder.put("text.txt", "not a sweep");
  const Finished foreign =
      run_program({"sweep", "--config", (folder / "sweep.toml").string(), "--out", folder.path().string()});
  CHECK(foreign.code == 2);
  CHECK(foreign.err.find("holds something else") != std::string::npos);
  // What a sweep that was killed while it wrote sweep.json left is no one else's: it begins there, and the rest goes.
  folder.put("sweep.toml", std::string("seed = [1]\n") + sweep_model(folder));
  fs::create_directories(folder / "killed");
  folder.put("killed/.sweep.json.tmp-1", "{");
  const Arguments again{"sweep", "--config", (folder / "sweep.toml").string(), "--out", (folder / "killed").string()};
  const Finished begun = run_program(again);
  CHECK_MESSAGE(begun.code == 0, begun.err);
  CHECK(fs::exists(folder / "killed" / "sweep.json"));
  CHECK_FALSE(fs::exists(folder / "killed" / ".sweep.json.tmp-1"));
  // A run that was under way and whose checkpoint is damaged.
  folder.put("sweep.toml", std::string("seed = [1, 2]\n") + sweep_model(folder));
  fs::remove(folder / "runs" / "seed=2" / "done");
  for (const fs::directory_entry& entry : fs::directory_iterator(folder / "runs" / "seed=2")) {
    if (entry.is_directory() && !entry.is_symlink()) fs::resize_file(entry.path() / "model.safetensors", 100);
  }
  const Finished bad =
      run_unchecked({"sweep", "--config", (folder / "sweep.toml").string(), "--out", out, "--format", "json"});
  CHECK(bad.code == 1);
  CHECK(json_lines(bad.out).size() == 1);
  CHECK(json_lines(bad.out)[0]["seeds"] == 1);
  CHECK(bad.err.find("1 run of the sweep failed: seed=2") != std::string::npos);
}

}  // namespace mixgrad::test
