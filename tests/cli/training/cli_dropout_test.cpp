// train --dropout, --lr-scale and the preset that uses the first.
#include <doctest/doctest.h>

#include <string>

#include "nn/files/file.h"
#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

std::string run_weights(const std::filesystem::path& run) { return read_text(run / "latest" / "model.safetensors"); }

TEST_CASE("cli dropout: a run keeps its rate, is resumed to the same bits for any threads, and is evaluated without") {
  const TempFolder folder;
  const std::string options = "--steps 8 --dropout 0.3 --lr-scale embed.*=0.5 --log-every 1 ";
  REQUIRE(train_tiny(folder, "whole", options).code == 0);
  REQUIRE(train_tiny(folder, "plain", "--steps 8 ").code == 0);
  REQUIRE(train_tiny(folder, "zero", "--steps 8 --dropout 0 --lr-scale *=1 ").code == 0);
  CHECK(run_weights(folder / "zero") == run_weights(folder / "plain"));
  CHECK(run_weights(folder / "whole") != run_weights(folder / "plain"));
  REQUIRE(train_tiny(folder, "parts", options + "--stop-after 3 ").code == 0);
  const std::string parts = (folder / "parts").string();
  const Json state = json_of(read_text(folder / "parts" / "latest" / "trainer.json"));
  CHECK(state["options"]["dropout"] == "0.3");
  CHECK(state["options"]["lr-scale"] == "embed.*=0.5");
  const auto refused = [&](const std::string& more, const std::string& text) {
    const Finished run = mixgrad("train --json --threads 1 " + more, {"--resume", parts});
    CHECK(not_refused(run, 2) == "");
    CHECK_MESSAGE(has(run.err, text), run.err);
  };
  refused("--dropout 0.2", "--dropout must stay what it was in this run, \"0.3\"; got \"0.2\"");
  refused("--lr-scale embed.*=0.1", "--lr-scale must stay what it was in this run");
  const Finished resumed = mixgrad("train --json --threads 2", {"--resume", parts});
  REQUIRE_MESSAGE(resumed.code == 0, resumed.err);
  CHECK(run_weights(folder / "parts") == run_weights(folder / "whole"));
  // The validation loss of the run, which eval computes again.
  const std::string whole = (folder / "whole").string();
  const Json first = json_of(mixgrad("eval --json --threads 1 --checkpoint", {whole}).out);
  const Json again = json_of(mixgrad("eval --json --threads 1 --checkpoint", {whole}).out);
  CHECK(first["loss"] == again["loss"]);
  const std::vector<Json> lines = json_lines(read_text(folder / "whole" / "metrics.jsonl"));
  CHECK(lines.back()["val_loss"] == first["loss"]);
}

TEST_CASE("cli dropout: errors, and what the plan and the preset say") {
  const TempFolder folder;
  const auto refused = [&](const std::string& more, const std::string& text) {
    const Finished run = train_tiny(folder, "x", "--steps 2 " + more);
    INFO(more);
    CHECK(run.code == 2);
    CHECK_MESSAGE(has(run.err, text), run.err);
    CHECK_FALSE(std::filesystem::exists(folder / "x" / "latest"));
  };
  refused("--dropout 1", "--dropout must be a number of at least 0 and below 1; got \"1\"");
  refused("--dropout -0.1", "--dropout must be a number of at least 0 and below 1; got \"-0.1\"");
  refused("--lr-scale embed.*", "lr-scale: PATTERN=FACTOR is required");
  refused("--lr-scale nothing=2", "lr-scale: a pattern must match the name of a parameter");
  refused("--freeze norm.* --lr-scale norm.*=2", "are frozen; leave it out");
  const Finished values = mixgrad("train --preset nanogpt-char --print-config");
  for (const char* line : {"dropout = 0.2", "beta2 = 0.99", "context = 256", "batch = 64", "mlp = \"gelu_erf\"",
                           "eval-every = 250", "positions = \"learned\"", "bias = false"}) {
    CHECK_MESSAGE(has(values.out, line), line);
  }
  const auto planned = [&](const std::string& more) {
    const Finished plan = mixgrad("train --plan --json --threads 1" + kTinyModel + more);
    REQUIRE_MESSAGE(plan.code == 0, plan.err);
    return json_of(plan.out)["activations"].get<std::int64_t>();
  };
  CHECK(planned("--dropout 0.5") >= planned(""));
}

}  // namespace
}  // namespace mixgrad::test
