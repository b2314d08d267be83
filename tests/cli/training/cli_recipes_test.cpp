// recipes/: every file is a config that train reads, each has its counterpart for a GPU, and the page lists them.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <regex>
#include <set>
#include <string>

#include "tests/support/cli.h"
#include "tests/support/temp_folder.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

std::set<std::string> recipes_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".toml") names.insert(entry.path().stem().string());
  }
  return names;
}

// run.sh with these words and the program that is tested; its last line as JSON, null where it failed.
Json run_recipe(const TempFolder& folder, const std::string& words, const fs::path& data,
                const fs::path& recipes = fs::path(MIXGRAD_SOURCE_DIR) / "recipes") {
  const fs::path out = folder / "runs of it";
  const std::string line = "MIXGRAD='" MIXGRAD_BINARY "' timeout 300 bash '" + (recipes / "run.sh").string() + "' " +
                           words.substr(0, words.find(" --")) + " '" + data.string() + "' '" + out.string() + "'" +
                           words.substr(words.find(" --")) + " >'" + (folder / "out").string() + "' 2>'" +
                           (folder / "err").string() + "'";
  const int code = std::system(line.c_str());  // NOLINT(concurrency-mt-unsafe)
  CHECK_MESSAGE(code == 0, TempFolder::get(folder / "err"));
  const std::vector<std::string> lines = lines_of(TempFolder::get(folder / "out"));
  return code != 0 || lines.empty() ? Json() : json_of(lines.back());
}

}  // namespace

TEST_CASE("cli recipes: run.sh from raw data to a sample, of a task and of a text in a folder with a space") {
  const TempFolder folder;
  const std::string small = " --steps 3 --batch 2 --layers 2 --d-model 16 --threads 1";
  const Json recall = run_recipe(folder, "mqar hsm" + small, folder / "none");
  REQUIRE(recall.is_object());
  CHECK(recall["recipe"] == "mqar");
  CHECK(recall["variant"] == "hsm");
  CHECK(recall["steps"] == 3);
  CHECK(recall["parameters"].get<std::int64_t>() > 256 * 16);
  CHECK(recall["eval"]["loss"].get<double>() > 0);
  const fs::path data = folder / "my data";
  fs::create_directories(data / "text");
  folder.put("my data/text/tinystories_train.txt", "Once upon a time\n" + small_text());
  folder.put("my data/text/tinystories_valid.txt", small_text());
  const Json story =
      run_recipe(folder, "stories-char softmax" + small + " --heads 2 --context 16 --d-ff 32 --match width", data);
  REQUIRE(story.is_object());
  CHECK(story["recipe"] == "stories-char");
  CHECK(story["steps"] == 3);
  CHECK(story["eval"]["loss"].get<double>() > 0);
  const std::string sample = TempFolder::get(folder / "runs of it" / "stories-char" / "softmax.txt");
  CHECK_MESSAGE(sample.starts_with("Once upon a time"), sample);
  CHECK(sample.size() > 400);
}

TEST_CASE("cli recipes: a recipe may begin with an easier form of its task, whose weights the run begins from") {
  const TempFolder folder;
  const fs::path recipes = folder / "recipes";
  fs::create_directories(recipes);
  fs::copy_file(fs::path(MIXGRAD_SOURCE_DIR) / "recipes" / "run.sh", recipes / "run.sh");
  folder.put("recipes/recall.toml",
             "#! first = --task mqar(pairs=2,vocab=16,length=15) --steps 4 --lr 0.01\n"
             "task = \"mqar(pairs=4,vocab=16,length=15)\"\nlayers = 2\nd-model = 16\nheads = 1\nbatch = 2\n"
             "steps = 2\nlr = 0.001\nwarmup = 1\neval-every = 0\nsave-every = 0\n");
  const auto last_step = [&](const std::string& run) {
    return json_lines(TempFolder::get(folder / "runs of it" / "recall" / run / "metrics.jsonl")).back()["step"];
  };
  const Json score = run_recipe(folder, "recall hsm --threads 1", folder / "none", recipes);
  REQUIRE(score.is_object());
  CHECK(score["eval"]["task"] == "mqar(pairs=4,vocab=16,length=15)");
  CHECK(score["parameters"].get<std::int64_t>() > 16 * 16);
  CHECK(last_step("hsm-first") == 4);
  CHECK(last_step("hsm") == 2);
  CHECK(has(TempFolder::get(folder / "runs of it" / "recall" / "hsm.log"), "mqar(pairs=2,vocab=16,length=15): "));
  const Json given = run_recipe(folder, "recall softmax --steps 3 --threads 1", folder / "none", recipes);
  REQUIRE(given.is_object());
  CHECK(last_step("softmax-first") == 3);  // what is given counts for both
  CHECK(last_step("softmax") == 3);
  // What decides the model belongs to the easier form alone: its weights have decided it for the other.
  const Json smaller =
      run_recipe(folder, "recall recurformer --layers 3 --d-model=8 --threads 1 --mlp gelu", folder / "none", recipes);
  REQUIRE(smaller.is_object());
  CHECK(smaller["parameters"].get<std::int64_t>() < score["parameters"].get<std::int64_t>());
  CHECK(last_step("recurformer") == 2);
}

TEST_CASE("cli recipes: options of the easier form that are no pairs are refused before anything is trained") {
  const TempFolder folder;
  fs::create_directories(folder / "recipes");
  fs::copy_file(fs::path(MIXGRAD_SOURCE_DIR) / "recipes" / "run.sh", folder / "recipes" / "run.sh");
  folder.put("recipes/odd.toml", "#! first = --steps 4 --recompute\ntask = \"copy\"\n");
  const std::string line = "MIXGRAD='" MIXGRAD_BINARY "' bash '" + (folder / "recipes" / "run.sh").string() +
                           "' odd softmax none '" + (folder / "out").string() + "' 2>'" + (folder / "err").string() +
                           "'";
  const int code = std::system(line.c_str());  // NOLINT(concurrency-mt-unsafe)
  CHECK(code != 0);
  CHECK(
      has(TempFolder::get(folder / "err"), "run.sh: the options behind #! first = must be pairs of --NAME and VALUE"));
  CHECK_FALSE(fs::exists(folder / "out" / "odd" / "softmax-first"));
}

TEST_CASE("cli recipes: run.sh knows the options that decide the model") {
  std::set<std::string> of_script;
  const std::string script = TempFolder::get(fs::path(MIXGRAD_SOURCE_DIR) / "recipes" / "run.sh");
  const std::regex assignment("\nof_model\\+?='([^']*)'");
  for (std::sregex_iterator at(script.begin(), script.end(), assignment), end; at != end; ++at) {
    std::string names = (*at)[1].str();
    std::replace(names.begin(), names.end(), '|', ' ');
    for (const std::string& name : words(names)) of_script.insert(name);
  }
  const std::string help = mixgrad("train --help").out;
  const std::size_t begin = help.find("\nModel:\n");
  REQUIRE(begin != std::string::npos);
  const std::string section = help.substr(begin, help.find("\n\n", begin) - begin);
  std::set<std::string> of_program{"preset", "tokenizer"};
  const std::regex option("\n  --([a-z-]+) ");
  for (std::sregex_iterator at(section.begin(), section.end(), option), end; at != end; ++at) {
    of_program.insert((*at)[1].str());
  }
  CHECK(of_program.size() > 15);
  CHECK(of_script == of_program);
}

TEST_CASE("cli recipes: train reads every recipe, for a CPU and for a GPU, and the page names each") {
  const fs::path root = fs::path(MIXGRAD_SOURCE_DIR) / "recipes";
  const std::set<std::string> names = recipes_in(root);
  CHECK(names.size() >= 9);
  CHECK(names == recipes_in(root / "gpu"));
  const std::string page = TempFolder::get(root / "README.md");
  for (const std::string& name : names) {
    CHECK_MESSAGE(has(page, "| `" + name + "` |"), "recipes/README.md does not list " << name);
    for (const fs::path& file : {root / (name + ".toml"), root / "gpu" / (name + ".toml")}) {
      INFO(file.string());
      const Finished run = run_program({"train", "--config", file.string(), "--print-config"});
      CHECK(run.code == 0);
      CHECK(run.err.empty());
    }
  }
}

}  // namespace mixgrad::test
