// recipes/: every file is a config that train reads, each has its counterpart for a GPU, and the page lists them.
#include <doctest/doctest.h>

#include <filesystem>
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

}  // namespace

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
