// train --task and eval --task.
#include <doctest/doctest.h>

#include <filesystem>
#include <string>

#include "nn/files/file.h"
#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

const std::string kTaskRun =
    " --layers 1 --d-model 16 --heads 2 --batch 2 --threads 1 --warmup 2 --lr 0.01 --steps 12 --eval-every 6 "
    "--log-every 3 --json --task copy(count=3,vocab=5) ";

Finished train_task(const TempFolder& folder, const std::string& name, const std::string& more = "") {
  return mixgrad("train" + kTaskRun + more, {"--out", (folder / name).string()});
}

std::string weights(const std::filesystem::path& run) { return read_text(run / "latest" / "model.safetensors"); }

TEST_CASE("cli task: a run trains, says its accuracy, and remembers its task") {
  const TempFolder folder;
  const Finished run = train_task(folder, "a");
  REQUIRE_MESSAGE(run.code == 0, run.err);
  CHECK(has(run.err, "copy(count=3,vocab=5): sequences of 6 tokens of 5 kinds, generated; 512 others for validation"));
  CHECK(has(run.err, "% of the answers are right; saved in "));
  const std::vector<Json> lines = json_lines(run.out);
  REQUIRE(lines.size() == 4);
  CHECK(keys_of(lines[0]) == "step,loss,val_loss,lr,grad_norm,tokens_per_s");
  CHECK(keys_of(lines[1]) == "step,loss,val_loss,accuracy,lr,grad_norm,tokens_per_s");
  CHECK((lines[3]["accuracy"] >= 0 && lines[3]["accuracy"] <= 1));
  const std::string path = (folder / "a").string();
  const Json state = json_of(read_text(folder / "a" / "latest" / "trainer.json"));
  CHECK(state["options"]["task"] == "copy(count=3,vocab=5)");
  CHECK(state["options"]["context"] == "6");
  // Without --task and --data eval takes the run's own task.
  const Finished own = mixgrad("eval --json --threads 1 --sequences 50 --checkpoint", {path});
  REQUIRE_MESSAGE(own.code == 0, own.err);
  CHECK(has(own.err, "the task is the one that " + path + " was trained on, copy(count=3,vocab=5)"));
  const Json score = json_of(own.out);
  CHECK(
      keys_of(score) ==
      "task,sequences,answers,accuracy,low,high,token_accuracy,sequence_accuracy,loss,by_position,by_distance,by_hop");
  CHECK(score["answers"] == 150);
  CHECK(score["by_position"].size() == 3);
  CHECK(keys_of(score["by_position"][0]) == "position,right,count,accuracy,low,high");
  CHECK(score["by_distance"].size() == 1);
  CHECK(score["by_hop"].empty());
  const Finished other = mixgrad("eval --json --threads 1 --sequences 50 --seed 2 --checkpoint", {path});
  CHECK(json_of(other.out)["loss"] != score["loss"]);
  // Longer than it was trained, and for people.
  const Finished longer = mixgrad("eval --threads 1 --sequences 20 --task copy(count=9,vocab=5) --checkpoint", {path});
  REQUIRE_MESSAGE(longer.code == 0, longer.err);
  CHECK(trouble(longer) == "");
  CHECK(has(longer.out, "(95 %), of 180 answers"));
  CHECK(has(longer.out, "position"));
  const Finished two =
      run_program(words("eval --threads 1 --sequences 20 --checkpoint " + path + " --checkpoint " + path));
  CHECK(two.code == 0);
  CHECK(lines_of(two.out).size() == 3);
}

TEST_CASE("cli task: a stopped run is resumed to the same bits") {
  const TempFolder folder;
  REQUIRE(train_task(folder, "whole").code == 0);
  REQUIRE(train_task(folder, "parts", "--stop-after 5").code == 0);
  const std::string parts = (folder / "parts").string();
  const auto refused = [&](const std::string& more, const std::string& text) {
    const Finished run = mixgrad("train --json --threads 1 " + more, {"--resume", parts});
    CHECK(not_refused(run, 2) == "");
    CHECK_MESSAGE(has(run.err, text), run.err);
  };
  refused("--task parity", "--task must stay what it was in this run, \"copy(count=3,vocab=5)\"; got \"parity(");
  refused("--data x.txt", "--data cannot be given here: the sequences of --task are generated");
  refused("--context 6", "--context cannot be given here");
  const Finished resumed = mixgrad("train --json --threads 1 --task copy(vocab=5,count=3)", {"--resume", parts});
  REQUIRE_MESSAGE(resumed.code == 0, resumed.err);
  CHECK(weights(folder / "parts") == weights(folder / "whole"));
  // From its weights alone: another task of that length and vocabulary.
  const std::string next = " --steps 2 --batch 2 --threads 1 --json --out " + (folder / "next").string();
  const Finished from = mixgrad("train --task induction(vocab=5,length=6)" + next, {"--checkpoint", parts});
  CHECK_MESSAGE(from.code == 0, from.err);
  std::filesystem::remove_all(folder / "next");
  const Finished longer = mixgrad("train --task induction(vocab=5,length=7)" + next, {"--checkpoint", parts});
  CHECK(not_refused(longer, 2) == "");
  CHECK(has(longer.err, "training needs a model whose context is the length of a sequence, 7 tokens"));
  const Finished wider = mixgrad("train --task induction(vocab=6,length=6)" + next, {"--checkpoint", parts});
  CHECK(not_refused(wider, 2) == "");
  CHECK(has(wider.err, "a model with at least 6 tokens is required"));
  const Finished unnamed = mixgrad("train" + next, {"--checkpoint", parts});
  CHECK(not_refused(unnamed, 2) == "");
  CHECK(
      has(unnamed.err, "was trained on the task copy(count=3,vocab=5), which has no text; give that task with --task"));
  CHECK_FALSE(std::filesystem::exists(folder / "next"));
}

TEST_CASE("cli task: what a task makes meaningless is refused") {
  const TempFolder folder;
  const auto refused = [&](const std::string& more, const std::string& text) {
    const Finished run = mixgrad("train --task parity " + more, {"--out", (folder / "x").string()});
    INFO(more);
    CHECK(not_refused(run, 2) == "");
    CHECK_MESSAGE(has(run.err, text), run.err);
    CHECK_FALSE(std::filesystem::exists(folder / "x"));
  };
  for (const char* option : {"--data x", "--valid none", "--field x", "--column x", "--codebooks 0",
                             "--codebook-size 4", "--document-token x", "--sampling random"}) {
    const std::string name = words(option)[0];
    refused(option, name + " cannot be given here: the sequences of --task are generated");
  }
  refused("--tokenizer byte", "--tokenizer cannot be given here: the tokens of --task are its own");
  refused("--context 8", "--context cannot be given here: --task sets it");
  refused("--vocab 8", "--vocab cannot be given here: --task sets it");
  refused("--sample-tokens 8", "--sample-tokens cannot be given here: a task has no text to continue");
  const Finished unknown = mixgrad("train --task mqar(pairs=0) --out", {(folder / "x").string()});
  CHECK(not_refused(unknown, 2) == "");
  CHECK(has(unknown.err, "train: --task: mqar pairs must be an integer from 1 to 8192; got \"0\"; correct it"));

  REQUIRE(train_task(folder, "a").code == 0);
  REQUIRE(train_tiny(folder, "text", "--steps 2").code == 0);
  const std::string a = (folder / "a").string();
  const std::string text = (folder / "text").string();
  const auto eval_refused = [&](const Arguments& more, const std::string& message) {
    Arguments line{"eval", "--threads", "1"};
    line.insert(line.end(), more.begin(), more.end());
    const Finished run = run_program(line);
    CHECK(not_refused(run, 2) == "");
    CHECK_MESSAGE(has(run.err, message), run.err);
  };
  eval_refused({"--checkpoint", a, "--split", "all"}, "--split cannot be given here: a task is not split");
  eval_refused({"--checkpoint", text, "--sequences", "9"}, "--sequences cannot be given here: a text is evaluated");
  eval_refused({"--checkpoint", text, "--seed", "9"}, "--seed cannot be given here: a text is evaluated");
  eval_refused({"--checkpoint", a, "--task", "parity", "--data", "x"}, "cannot be given here");
  eval_refused({"--checkpoint", a, "--task", "parity", "--unknown", "skip"},
               "--unknown cannot be given here: a task has no unknown characters");
  eval_refused({"--checkpoint", a, "--checkpoint", text}, "was trained on a text, and another checkpoint on a task");
  eval_refused({"--checkpoint", a, "--task", "induction"}, "a model with at least 16 tokens is required");
}

TEST_CASE("cli task: a plan, a preset and a config file know the task") {
  const TempFolder folder;
  const Finished plan = mixgrad("train --preset char --task mqar --plan --json");
  REQUIRE_MESSAGE(plan.code == 0, plan.err);
  const Finished values = mixgrad("train --task parity(length=8) --print-config");
  CHECK(has(values.out, "task = \"parity(length=8,running=false)\""));
  CHECK_FALSE(has(values.out, "context ="));
  CHECK_FALSE(has(mixgrad("train --print-config").out, "task ="));
}

}  // namespace
}  // namespace mixgrad::test
