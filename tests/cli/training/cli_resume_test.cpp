// mixgrad train --resume, generations, --early-stop, --skip-nonfinite.
#include <doctest/doctest.h>

#include <cmath>

#include "core/error.h"
#include "nn/files/folder.h"
#include "nn/files/generations.h"
#include "nn/files/hash.h"
#include "nn/training/checkpoint.h"
#include "nn/training/optimizers/adamw.h"
#include "tests/support/reliability.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

TEST_CASE("cli resume: a run resumed from DIR or DIR/step-N, in that folder or another, ends with the same files") {
  const TempFolder folder;
  const std::string options = "--steps 12 --save-every 2 --eval-every 5 --log-every 3";
  REQUIRE(run_program(tiny_run(folder, "straight", options)).code == 0);
  CHECK(saved_steps(folder / "straight") == "10 12");
  REQUIRE(run_program(tiny_run(folder, "run", options + " --stop-after 7")).code == 0);
  CHECK(saved_steps(folder / "run") ==
        "5 6 7");  // 5 is the best: the evaluation that --stop-after brings does not count
  for (const std::string from : {"run", "run/step-6", "run/latest"}) {
    const Finished run = run_program(resumption(folder / from, "--out " + (folder / "other").string()));
    INFO(run.err);
    CHECK(run.code == 0);
    CHECK(weights_of(folder / "other") == weights_of(folder / "straight"));
    CHECK(metrics_of(folder / "other") == metrics_of(folder / "straight"));
    fs::remove_all(folder / "other");
  }
  CHECK(saved_steps(folder / "run") == "5 6 7");
  // From an older generation of its own, which passes the newer ones; the folder is that of the run.
  CHECK(run_program(resumption(folder / "run/step-5", "--threads 2")).code == 0);
  CHECK(weights_of(folder / "run") == weights_of(folder / "straight"));
  CHECK(metrics_of(folder / "run") == metrics_of(folder / "straight"));
  // A run that is complete stays as it is.
  const std::string before = weights_of(folder / "run") + metrics_of(folder / "run");
  CHECK(run_program(resumption(folder / "run", "")).code == 0);
  CHECK(weights_of(folder / "run") + metrics_of(folder / "run") == before);
}

TEST_CASE("cli resume: what decides the result must stay; the rest may change") {
  const TempFolder folder;
  REQUIRE(run_program(tiny_run(folder, "run", "--steps 9 --stop-after 2")).code == 0);
  const std::string run = (folder / "run").string();
  const auto refused = [&](const std::string& options, int code, const std::string& text) {
    const Finished finished = run_program(resumption(run, options));
    INFO(options << ": " << finished.err);
    CHECK(finished.code == code);
    CHECK(has(finished.err, text));
    CHECK(saved_steps(run) == "2");
  };
  for (const std::string option : {"lr 0.02", "seed 2", "layers 2", "mixer hsm:scalar", "batch 3", "precision f64",
                                   "skip-nonfinite 1", "early-stop patience=3", "tokenizer byte"}) {
    const std::string name = option.substr(0, option.find(' '));
    refused("--" + option, 2, "--" + name + " must stay what it was in this run, ");
  }
  refused("--steps 8", 2, "--steps must be at least what it was in this run, 9; got 8; leave it out, or end earlier");
  refused("--preset char", 2, "--preset cannot be given here: all options come from the run that --resume names");
  refused("--checkpoint " + run, 2, "--checkpoint must stay what it was in this run, \"\"; got \"" + run + "\"");
  refused("--data " + folder.put("other.txt", small_text() + "t").string(), 3,
          "was trained on a text of 1947 bytes with the XXH3 ");
  REQUIRE(run_program(tiny_run(folder, "taken", "--steps 1")).code == 0);
  refused("--out " + (folder / "taken").string(), 2, "holds a run already; choose another folder, or resume that run");

  const std::string copy = folder.put("copy.txt", small_text()).string();  // the same text under another name
  const Finished finished = run_program(resumption(
      run, "--lr 1e-2 --stop-after 4 --eval-every 3 --save-every 2 --log-every 2 --threads 2 --data " + copy));
  INFO(finished.err);
  CHECK(finished.code == 0);
  CHECK(saved_steps(run) == "3 4");
  const TrainerState state = load_trainer_state(find_generation(run));
  CHECK(state.options.at("eval-every") == "3");
  CHECK(state.options.at("data") == copy);
  CHECK(state.options.at("lr") == "0.01");
  CHECK(state.options.at("threads") == "2");
}

TEST_CASE("cli resume: one process at a time, and what a crash left is swept") {
  const TempFolder folder;
  REQUIRE(run_program(tiny_run(folder, "run", "--steps 4 --stop-after 2")).code == 0);
  fs::create_directory(folder / "run/.step-3.tmp");
  folder.put("run/.step-3.tmp/config.json", "half");
  fs::create_symlink("step-3", folder / "run/.latest.tmp");
  {
    const FolderLock lock(folder / "run", "this test");
    const Finished finished = run_program(resumption(folder / "run", ""));
    CHECK(finished.code == 4);
    CHECK(has(finished.err, "only one process may write here at a time; another mixgrad train does"));
    CHECK(fs::exists(folder / "run/.step-3.tmp"));
  }
  CHECK(run_program(resumption(folder / "run", "")).code == 0);
  CHECK(saved_steps(folder / "run") == "2 4");
  for (const auto& item : fs::directory_iterator(folder / "run")) CHECK(item.path().filename().string()[0] != '.');
}

TEST_CASE("cli resume: damaged generations are refused by name, and the others stand") {
  const TempFolder folder;
  REQUIRE(run_program(tiny_run(folder, "run", "--steps 4 --stop-after 3 --save-every 1 --eval-every 0")).code == 0);
  CHECK(saved_steps(folder / "run") == "2 3");
  const fs::path weights = folder / "run/step-3/model.safetensors";
  std::string content = TempFolder::get(weights);
  content.back() = static_cast<char>(content.back() ^ 1);
  folder.put("run/step-3/model.safetensors", content);
  for (const char* line : {"train --json --resume", "generate --tokens 1 --checkpoint", "eval --checkpoint"}) {
    const Finished finished = mixgrad(line, {(folder / "run").string()});
    CHECK(finished.code == 3);
    CHECK(has(finished.err, "must have the XXH3 "));
    CHECK(has(finished.err, "take another generation"));
  }
  CHECK(run_program(resumption(folder / "run/step-2", "")).code == 0);
  fs::remove(folder / "run/latest");  // without the link the highest is meant
  CHECK(find_generation(folder / "run") == folder / "run/step-4");
  fs::remove(folder / "run/step-4/trainer.json");
  const Finished finished = run_program(resumption(folder / "run/step-4", ""));
  CHECK(finished.code == 4);
  CHECK(has(finished.err,
            "this generation holds a model only; start a new run from its weights with mixgrad train --checkpoint"));
}

TEST_CASE("cli train: --early-stop ends after evaluations without a gain, also after a resumption") {
  const TempFolder folder;
  const std::string options = "--steps 40 --eval-every 2 --lr 1e-9 --min-lr 0 --early-stop patience=3,min-delta=0.5";
  const Finished run = run_program(tiny_run(folder, "run", options));
  INFO(run.err);
  CHECK(run.code == 0);
  CHECK(has(run.err, "stopped early at step 8: 3 evaluations without a gain"));
  CHECK(fs::read_symlink(folder / "run/latest") == "step-8");
  REQUIRE(run_program(tiny_run(folder, "part", options + " --stop-after 5")).code == 0);
  const Finished rest = run_program(resumption(folder / "part", ""));
  CHECK(has(rest.err, "stopped early at step 8: 3 evaluations without a gain"));
  CHECK(weights_of(folder / "part") == weights_of(folder / "run"));
  for (const auto& [value, text] : {std::pair{"patience=0", "--early-stop patience must be an integer from 1"},
                                    std::pair{"patince=3", "did you mean \"patience\"?"},
                                    std::pair{"min-delta=1", "--early-stop needs patience=COUNT"},
                                    std::pair{"patience=2,min-delta=-1", "min-delta must be a number of at least 0"}}) {
    const Finished refused = run_program(tiny_run(folder, "bad", std::string("--early-stop ") + value));
    CHECK(not_refused(refused, 2) == "");
    CHECK(has(refused.err, text));
  }
}

TEST_CASE("cli train: a number that is not finite stops the run with where it began, or is skipped and counted") {
  const TempFolder folder;
  // Weights grow until a product of them is beyond f32.
  const std::string wild =
      "--steps 40 --lr 1000 --min-lr 1000 --clip 1e9 --weight-decay 1000 --warmup 0 --eval-every 0 ";
  const Finished run = run_program(tiny_run(folder, "run", wild + "--save-every 1"));
  INFO(run.err);
  CHECK(run.code == 1);
  const std::string last = lines_of(run.err).back();
  CHECK(has(last, "must be finite, got "));
  CHECK(has(last, "; first not finite: "));
  CHECK(has(last, " (operator "));
  CHECK(has(last, "no weight was changed by this step; checkpoints in "));
  CHECK(damage(folder / "run") == "");
  const std::int64_t good = generations(folder / "run").back();
  CHECK(has(last, "mixgrad: step " + std::to_string(good + 1) + ": "));

  const Finished unsaved = run_program(tiny_run(folder, "unsaved", wild + "--save-every 0"));
  INFO(unsaved.err);
  CHECK(unsaved.code == 1);
  CHECK(has(lines_of(unsaved.err).back(), "no weight was changed by this step; nothing was saved before it; try a "));
  CHECK_FALSE(has(unsaved.err, "checkpoints in"));
  CHECK_FALSE(holds_run(folder / "unsaved"));

  const Finished skipping = run_program(tiny_run(folder, "skip", wild + "--save-every 1 --skip-nonfinite 3"));
  INFO(skipping.err);
  CHECK(skipping.code == 1);  // it never recovers
  CHECK(has(skipping.err, "skipped (1 of 3): loss "));
  CHECK(has(skipping.err, "skipped (3 of 3): loss "));
  const TrainerState state = load_trainer_state(find_generation(folder / "skip"));
  CHECK(state.skipped == 3);
  CHECK(state.step == good + 3);
  CHECK(state.optimizer_steps == good);
  const std::string skipped = TempFolder::get(folder / "skip/latest/optimizer.safetensors");
  CHECK(skipped.size() == TempFolder::get(folder / "run/latest/optimizer.safetensors").size());
  const Checkpoint before = load_checkpoint(folder / "run", DType::f32);
  const Checkpoint after = load_checkpoint(folder / "skip", DType::f32);
  CHECK(after.model->parameters().flat().equal_bits(before.model->parameters().flat()));
}

TEST_CASE("checkpoint: parameters that are not finite are not written") {
  const TempFolder folder;
  REQUIRE(run_program(tiny_run(folder, "run", "--steps 2")).code == 0);
  const Checkpoint checkpoint = load_checkpoint(folder / "run", DType::f32);
  AdamW optimizer(checkpoint.model->parameters(), {});
  TrainerState state = load_trainer_state(checkpoint.folder);
  state.step = 3;
  checkpoint.model->parameters()[1].value.set(5, std::nan(""));
  const std::string text = error_of<ValueError>(
      [&] { save_checkpoint(folder / "run", *checkpoint.model, *checkpoint.tokenizer, optimizer, state); });
  CHECK(has(text, "checkpoint of step 3: every parameter must be finite; element 5 of layers.0.norm1.weight is nan"));
  CHECK(has(text, "earlier generations are intact: start a new run from one with a lower learning rate"));
  CHECK(saved_steps(folder / "run") == "2");
  const std::string first = error_of<ValueError>(
      [&] { save_checkpoint(folder / "empty", *checkpoint.model, *checkpoint.tokenizer, optimizer, state); });
  CHECK(has(first, "nothing was written; start again with a lower learning rate"));
}

TEST_CASE("hash: XXH3 as published, in pieces as at once") {
  CHECK(xxh3_hex("") == "2d06800538d394c2");
  Xxh3 pieces;
  pieces.add("mix", 3);
  pieces.add("", 0);
  pieces.add("grad", 4);
  CHECK(pieces.hex() == xxh3_hex("mixgrad"));
  CHECK(is_xxh3_hex("0123456789abcdef"));
  for (const char* bad : {"", "0123456789abcde", "0123456789abcdeF", "0123456789abcdeg", "0123456789abcdef0"}) {
    CHECK_FALSE(is_xxh3_hex(bad));
  }
}

TEST_CASE("generations: names, and which are kept") {
  CHECK(generation_step("step-0") == 0);
  CHECK(generation_step("step-120") == 120);
  for (const char* name :
       {"step-", "step-01", "step--1", "step-1x", "Step-1", "step-99999999999999999999", ".step-1.tmp"}) {
    CHECK_FALSE(generation_step(name));
  }
  const TempFolder folder;
  const auto make = [&](std::int64_t step) {
    install_generation(folder.path(), step,
                       [](const fs::path& scratch) { std::ofstream(scratch / "config.json") << 1; });
  };
  for (const std::int64_t step : {3, 5, 9, 10, 40}) make(step);
  prune_generations(folder.path(), 10, {9, 5});
  CHECK(saved_steps(folder.path()) == "5 9 10 40");  // the best, 10 and what it continues, and what is beyond
  make(5);                                           // again: exchanged, not lost in between
  CHECK(fs::read_symlink(folder / "latest") == "step-5");
  CHECK_THROWS_AS(install_generation(folder.path(), 11, [](const fs::path&) { throw std::runtime_error("no"); }),
                  std::runtime_error);
  CHECK(saved_steps(folder.path()) == "5 9 10 40");
  CHECK_FALSE(fs::exists(folder / ".step-11.tmp"));
  prune_generations(folder.path(), 40, {10, {}});
  CHECK(saved_steps(folder.path()) == "10 40");
}

}  // namespace
}  // namespace mixgrad::test
