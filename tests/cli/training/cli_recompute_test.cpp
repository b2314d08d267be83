// mixgrad train --recompute and --trace: the same bits, less memory; what a step takes, as a file.
#include <doctest/doctest.h>

#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

const std::string kSmall =
    " --layers 4 --d-model 32 --heads 4 --context 32 --batch 4 --threads 1 --dropout 0.1 --accumulate 2 --valid none "
    "--mixer attention,mamba(heads=2),hsm:vector,attention ";

Arguments text_and(const TempFolder& folder, const std::string& out) {
  const std::string text = (folder / "text.txt").string();
  if (!fs::exists(text)) folder.put("text.txt", small_text());
  return {"--data", text, "--out", (folder / out).string()};
}

std::string weights(const fs::path& run) { return TempFolder::get(run / "latest" / "model.safetensors"); }

TEST_CASE("cli: train --recompute gives the same weights, is kept by --resume, and may be changed there") {
  const TempFolder folder;
  CHECK(mixgrad("train --sample-tokens 0 --steps 6" + kSmall, text_and(folder, "kept")).code == 0);
  CHECK(mixgrad("train --sample-tokens 0 --steps 6 --recompute" + kSmall, text_and(folder, "again")).code == 0);
  CHECK(weights(folder / "kept") == weights(folder / "again"));
  CHECK(
      mixgrad("train --sample-tokens 0 --steps 6 --stop-after 3 --recompute" + kSmall, text_and(folder, "half")).code ==
      0);
  const auto options = [&] {
    return Json::parse(TempFolder::get(folder / "half" / "latest" / "trainer.json"))["options"];
  };
  CHECK(options()["recompute"] == "true");
  CHECK(mixgrad("train --sample-tokens 0 --stop-after 4", {"--resume", (folder / "half").string()}).code == 0);
  CHECK(options()["recompute"] == "true");
  CHECK(mixgrad("train --sample-tokens 0", {"--resume", (folder / "half").string(), "--recompute=false"}).code == 0);
  CHECK(options().count("recompute") == 0);
  CHECK(weights(folder / "kept") == weights(folder / "half"));
}

TEST_CASE("cli: train --plan --recompute takes less, and bench train measures less") {
  const TempFolder folder;
  const Arguments data{"--data", text_and(folder, "")[1]};
  const auto activations = [&](const std::string& more) {
    const Finished run = mixgrad("train --plan --json" + more + kSmall + "--batch 64", data);
    CHECK(trouble(run) == "");
    return json_lines(run.out).at(0)["activations"].get<std::int64_t>();
  };
  CHECK(activations(" --recompute") < activations("") * 3 / 4);
  const auto measured = [&](const std::string& more) {
    const Finished run = mixgrad(
        "bench train --json --rounds 2 --layers 4 --d-model 32 --heads 4 --context 32 --threads 1" + more, data);
    CHECK(trouble(run) == "");
    const Json result = json_lines(run.out).at(0);
    CHECK((kSanitized || result["allocations_per_step"] == 0));
    return result["peak_bytes"].get<std::int64_t>();
  };
  CHECK(measured(" --recompute") < measured(""));
  const Finished wrong = mixgrad("bench decode --recompute", data);
  CHECK(not_refused(wrong, 2) == "");
  CHECK(has(wrong.err, "--recompute cannot be given here: it belongs to bench train"));
}

TEST_CASE("cli: --trace writes a step without changing the run") {
  const TempFolder folder;
  const std::string file = (folder / "step.json").string();
  CHECK(mixgrad("train --sample-tokens 0 --steps 3" + kSmall, text_and(folder, "plain")).code == 0);
  Arguments arguments = text_and(folder, "traced");
  arguments.insert(arguments.end(), {"--trace", file});
  const Finished run = mixgrad("train --sample-tokens 0 --steps 3" + kSmall, arguments);
  CHECK(run.code == 0);
  CHECK(has(run.err, file + " holds a trace of a step: "));
  CHECK(weights(folder / "plain") == weights(folder / "traced"));
  const Json trace = Json::parse(TempFolder::get(file));
  CHECK(trace["traceEvents"].size() > 50);
  CHECK(trace["otherData"]["accumulate"] == 2);
  CHECK(Json::parse(TempFolder::get(folder / "traced" / "latest" / "trainer.json"))["options"].count("trace") == 0);

  const Arguments data{"--data", text_and(folder, "")[1], "--trace", (folder / "bench.json").string()};
  CHECK(mixgrad("bench train --rounds 1 --layers 2 --d-model 16 --heads 2 --context 16 --recompute", data).code == 0);
  int again = 0;  // operators that the backward pass runs forward once more
  bool backward = false;
  const Json of_bench = Json::parse(TempFolder::get(folder / "bench.json"));
  for (const Json& event : of_bench["traceEvents"]) {
    if (event["cat"] == "phase") backward = event["name"] == "backward";
    again += backward && event["cat"] == "forward" ? 1 : 0;
  }
  CHECK(again > 10);

  const Finished planned = mixgrad("train --plan --trace x.json" + kSmall, {"--data", text_and(folder, "")[1]});
  CHECK(not_refused(planned, 2) == "");
  CHECK(has(planned.err, "--trace cannot be given here: --plan runs no step"));
}

}  // namespace
}  // namespace mixgrad::test
