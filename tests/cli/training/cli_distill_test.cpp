// train --distill: what is stored and said, resumed bit for bit, and what is refused.
#include <doctest/doctest.h>

#include <filesystem>

#include "nn/files/file.h"
#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

struct Story {
  TempFolder folder;
  std::string base, half, text;

  Story() {
    REQUIRE(train_tiny(folder, "base", "--steps 5 --layers 2 --heads 4").code == 0);
    base = (folder / "base").string();
    half = (folder / "half").string();
    text = (folder / "text.txt").string();
    folder.put("text.txt", small_text());
    REQUIRE(mixgrad("convert --threads 1 --select fraction=0.5 --window 2",
                    {"--checkpoint", base, "--out", half, "--data", text})
                .code == 0);
  }

  Finished train(const std::string& out, const std::string& options, const std::string& from = {}) const {
    return mixgrad("train --batch 2 --steps 6 --warmup 2 --threads 1 --json --log-every 1 " + options,
                   {"--checkpoint", from.empty() ? half : from, "--data", text, "--distill", base, "--out",
                    (folder / out).string()});
  }
  std::string weights(const std::string& run) const { return read_text(folder / run / "latest" / "model.safetensors"); }
};

TEST_CASE("cli distill: both stages run, are stored with the teacher's hash, and resume to the same bits") {
  const Story story;
  for (const std::string stage : {"heads", "logits"}) {
    INFO(stage);
    const std::string options = "--distill-stage " + stage + " --lr-scale *.mamba.*=2 ";
    const Finished whole = story.train(stage, options);
    REQUIRE_MESSAGE(whole.code == 0, whole.err);
    CHECK(has(whole.err, "teacher: "));
    const std::vector<Json> lines = json_lines(whole.out);
    CHECK(lines.front()["objective"] == "distill-" + stage);
    CHECK(lines.back()["val_loss"].get<double>() > 0);
    const Json state = json_of(read_text(story.folder / stage / "latest" / "trainer.json"));
    CHECK(state["teacher"]["xxh3"].get<std::string>().size() == 16);
    CHECK(has(state["teacher"]["path"].get<std::string>(), "/base/step-5"));
    CHECK(state["options"]["distill"] == state["teacher"]["path"]);
    CHECK(state["options"].contains("distill-stage") == (stage == "heads"));
    REQUIRE(story.train(stage + "-parts", options + "--stop-after 3").code == 0);
    const std::string parts = (story.folder / (stage + "-parts")).string();
    const Finished resumed = mixgrad("train --json --threads 2", {"--resume", parts});
    REQUIRE_MESSAGE(resumed.code == 0, resumed.err);
    CHECK(story.weights(stage) == story.weights(stage + "-parts"));
  }
  const Finished plain =
      mixgrad("train --batch 2 --steps 6 --warmup 2 --threads 1 --json --lr-scale *.mamba.*=2",
              {"--checkpoint", story.half, "--data", story.text, "--out", (story.folder / "plain").string()});
  REQUIRE(plain.code == 0);
  CHECK(story.weights("plain") != story.weights("logits"));
  CHECK_FALSE(json_lines(plain.out).front().contains("objective"));
  CHECK_FALSE(json_of(read_text(story.folder / "plain" / "latest" / "trainer.json")).contains("teacher"));
}

TEST_CASE("cli distill: a resumed run needs the same teacher, wherever it lies") {
  const Story story;
  REQUIRE(story.train("run", "--stop-after 3 --distill-mix 0.25 --distill-temperature 3").code == 0);
  fs::rename(story.folder / "base", story.folder / "moved");
  const std::string run = (story.folder / "run").string();
  CHECK(mixgrad("train --json --threads 1", {"--resume", run}).code == 4);
  const Finished other = mixgrad("train --json --threads 1", {"--resume", run, "--distill", story.half});
  CHECK(other.code == 2);
  CHECK_MESSAGE(has(other.err, "the run was begun with a teacher whose model.safetensors has the XXH3"), other.err);
  const std::string moved = (story.folder / "moved").string();
  const Finished mix = mixgrad("train --json --threads 1 --distill-mix 0.5", {"--resume", run, "--distill", moved});
  CHECK_MESSAGE(has(mix.err, "--distill-mix must stay what it was in this run, \"0.25\""), mix.err);
  const Finished resumed = mixgrad("train --json --threads 1", {"--resume", run, "--distill", moved});
  CHECK_MESSAGE(resumed.code == 0, resumed.err);
}

TEST_CASE("cli distill: what is refused, and the plan") {
  const Story story;
  const auto refused = [&](const Finished& run, const std::string& text) {
    CHECK(run.code == 2);
    CHECK_MESSAGE(has(run.err, text), run.err);
  };
  refused(story.train("x", "--distill-stage heads --distill-mix 0.5"), "it belongs to --distill-stage logits");
  refused(story.train("x", "--distill-mix 0"), "--distill-mix must be a number above 0 and at most 1");
  refused(story.train("x", "--distill-stage heads --dropout 0.1"),
          "--dropout cannot be given with --distill-stage heads");
  refused(story.train("x", "--distill-stage heads --freeze *.mamba.*"), "at least one parameter must be left to train");
  refused(story.train("x", "--distill-stage heads --lr-scale embed.*=2"), "are frozen; leave it out");
  refused(story.train("x", "--distill-stage heads", story.base), "some of whose heads are Mamba or shift heads");
  refused(mixgrad("train --distill-mix 0.5 --out x"), "it belongs to --distill");
  REQUIRE(train_tiny(story.folder, "short", "--steps 2 --layers 2 --heads 4 --context 4").code == 0);
  const Finished shorter = mixgrad("train --steps 2 --threads 1",
                                   {"--checkpoint", story.half, "--data", story.text, "--out",
                                    (story.folder / "x").string(), "--distill", (story.folder / "short").string()});
  refused(shorter, "must have a context of at least 8 tokens");
  const Finished planned = mixgrad("train --steps 2 --threads 1 --plan",
                                   {"--checkpoint", story.half, "--distill", (story.folder / "short").string()});
  refused(planned, "must have a context of at least 8 tokens");
  refused(story.train("x", "--plan --distill-stage heads", story.base), "some of whose heads are Mamba or shift heads");
  refused(story.train("x", "--distill-stage heads --trace " + (story.folder / "t.json").string()),
          "--distill-stage heads runs each layer forward and backward by itself");
  const std::string packed = (story.folder / "packed").string();
  REQUIRE(mixgrad("train --steps 2 --layers 2 --heads 4 --reset-state --valid none" + kTiny,
                  {"--data", story.text, "--document-token", "\n", "--out", packed})
              .code == 0);
  refused(mixgrad("train --steps 2 --threads 1 --distill-stage heads",
                  {"--checkpoint", packed, "--distill", story.base, "--out", (story.folder / "x").string()}),
          "--reset-state cannot be given with --distill-stage heads");
  CHECK_FALSE(fs::exists(story.folder / "x"));
  for (const char* stage : {"heads", "logits"}) {
    const Finished plan = story.train("x", std::string("--plan --distill-stage ") + stage);
    REQUIRE_MESSAGE(plan.code == 0, plan.err);
    const Json figures = json_of(plan.out);
    CHECK(figures["teacher"].get<std::int64_t>() > 0);
    CHECK(figures["peak"].get<std::int64_t>() >
          figures["parameters"].get<std::int64_t>() + figures["teacher"].get<std::int64_t>());
  }
}

}  // namespace
}  // namespace mixgrad::test
