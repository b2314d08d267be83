// Every verb that reads a text opens it once.
#include <doctest/doctest.h>

#include <string>

#include "tests/support/process.h"

namespace mixgrad::test {
namespace {

// How often a run of the program opens files below `watched`.
std::string opened(const TempFolder& folder, const std::filesystem::path& watched, const Arguments& arguments) {
  ProcessSetting setting;
  setting.environment = {{"LD_PRELOAD", MIXGRAD_FAULT_SHIM},
                         {"MIXGRAD_FAULT_UNDER", watched.string()},
                         {"MIXGRAD_READ_COUNT", (folder / "count").string()}};
  std::filesystem::remove(folder / "count");
  Process process(folder, arguments, setting);
  const auto end = process.wait(20);
  INFO(end.err);
  CHECK(end.code == 0);
  return TempFolder::get(folder / "count");
}

TEST_CASE("cli: the text of a run is opened once, whether the run is new, resumed, or starts from other weights") {
  if (kSanitized) return;  // the sanitizer must be the first library that is loaded
  const TempFolder folder;
  const std::filesystem::path texts = folder / "texts";
  std::filesystem::create_directory(texts);
  const std::string model = " --layers 1 --d-model 16 --heads 2 --context 8 ";
  const std::string training = " --batch 2 --threads 1 --warmup 0 --steps 4 ";
  for (const std::string ending : {"", "é"}) {  // mapped, or encoded once
    const std::string text = (texts / ("text" + ending + ".txt")).string();
    folder.put("texts/text" + ending + ".txt", small_text() + ending);
    const auto run = [&](const std::string& line, const Arguments& more = {}) {
      INFO(line);
      Arguments arguments = words(line);
      arguments.insert(arguments.end(), {"--data", text});
      arguments.insert(arguments.end(), more.begin(), more.end());
      CHECK(opened(folder, texts, arguments) == "1");
    };
    const std::string out = (folder / ("run" + ending)).string();
    run(joined({"train", model, training, "--stop-after 2"}), {"--out", out});
    run(joined({"train --resume ", out, " --threads 1"}));
    run("train" + training, {"--checkpoint", out, "--out", out + "-second"});
    run(joined({"train --plan", model, training}));
    run("eval --threads 1", {"--checkpoint", out});
    run("bench train --rounds 1 --batch 2 --threads 1" + model);
    run("bench decode --tokens 4" + model);
    run("inspect model" + model);
  }
}

}  // namespace
}  // namespace mixgrad::test
