// mixgrad convert: what it writes and prints, that the result trains, decodes and can be converted again, and what it
// refuses.
#include <doctest/doctest.h>

#include <filesystem>

#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

const TempFolder& convert_folder() {
  static const TempFolder folder;
  return folder;
}

std::string base_run() {
  if (!std::filesystem::exists(convert_folder() / "base")) {
    REQUIRE(train_tiny(convert_folder(), "base", "--steps 5 --layers 2 --heads 4").code == 0);
  }
  return (convert_folder() / "base").string();
}

Finished convert(const std::string& out, const std::string& options) {
  return mixgrad("convert --threads 1 " + options,
                 {"--checkpoint", base_run(), "--out", (convert_folder() / out).string()});
}

std::string text_path() {
  if (!std::filesystem::exists(convert_folder() / "text.txt")) convert_folder().put("text.txt", small_text());
  return (convert_folder() / "text.txt").string();
}

TEST_CASE("cli: convert in JSON says what was replaced, parameters, cache bytes and losses") {
  const Finished done = convert("half", "--select fraction=0.5 --window 2 --json");
  CHECK(done.code == 0);
  const Json line = json_of(done.out);
  CHECK(keys_of(line) == "replaced,parameters_before,parameters_after,cache_bytes,loss_before,loss_after");
  CHECK(line["replaced"].size() == 4);
  CHECK(keys_of(line["cache_bytes"]) == "1024,8192,65536");
  // Two layers of four groups of width 4, keys and values in f32; half of them become Mamba heads with 4 inner
  // channels, 16 states and 3 kept inputs.
  CHECK(line["cache_bytes"]["1024"] == Json{2 * 4 * 2 * 1024 * 4 * 4, 4 * (2 * 1024 * 4 * 4 + 4 * (16 + 3) * 4)});
  const Json figures = json_of(
      mixgrad("eval --json --threads 1", {"--checkpoint", (convert_folder() / "half").string(), "--data", text_path()})
          .out);
  CHECK(figures["loss"].get<double>() > 0);
}

TEST_CASE("cli: convert prints each group with its choice, and sizes before and after") {
  const Finished done = convert("table", "--select threshold=0.1 --to shift --init from-attention");
  CHECK(done.code == 0);
  INFO(done.out);
  CHECK(has(done.out, "8 of 8 softmax groups become shift heads, by threshold=0.1"));
  CHECK(has(done.out, "share of the output"));
  CHECK(has(done.out, "cache bytes at 8192 tokens *"));
  CHECK(has(done.out, "loss, nats a token"));
  CHECK(has(done.out, "* more than the model's context of 8"));
  CHECK(has(convert("ablated", "--select ablation=0.25 --to window").out, "loss without"));
}

TEST_CASE("cli: convert of no group gives the same logits, bit for bit") {
  const Json line = json_of(convert("same", "--select fraction=0 --json").out);
  CHECK(line["replaced"] == Json::array());
  CHECK(line["parameters_before"] == line["parameters_after"]);
  CHECK(line["loss_before"] == line["loss_after"]);
  const auto text = [&](const std::string& run) {
    return mixgrad("generate --temperature 0 --tokens 30 --prompt the --threads 1", {"--checkpoint", run}).out;
  };
  CHECK(text(base_run()) == text((convert_folder() / "same").string()));
}

TEST_CASE("cli: what was converted is trained on, converted again and decoded; other inits and targets") {
  CHECK(convert("start", "--select groups=0:1,1:3 --init from-attention --expand 2").code == 0);
  CHECK(convert("zero", "--select random=0.5 --seed 7 --init zero-out").code == 0);
  CHECK(json_of(convert("random", "--select random=0.5 --seed 7 --json").out)["replaced"].size() == 4);
  const std::string run = (convert_folder() / "start").string();
  CHECK(mixgrad("train --steps 3 --batch 2 --threads 1 --sample-tokens 0",
                {"--checkpoint", run, "--data", text_path(), "--out", (convert_folder() / "on").string()})
            .code == 0);
  const Finished again =
      mixgrad("convert --select lowest=0.5 --expand 2 --threads 1 --json",
              {"--checkpoint", run, "--data", text_path(), "--out", (convert_folder() / "again").string()});
  CHECK(again.code == 0);
  CHECK(json_of(again.out)["replaced"].size() == 3);
  CHECK(
      mixgrad("generate --tokens 12 --prompt the --threads 1", {"--checkpoint", (convert_folder() / "again").string()})
          .code == 0);
  // A model alone has no text; where none is needed it is converted without a loss.
  const Finished alone = mixgrad("convert --select groups=0:0 --expand 2 --threads 1 --json",
                                 {"--checkpoint", run, "--out", (convert_folder() / "alone").string()});
  CHECK(keys_of(json_of(alone.out)) == "replaced,parameters_before,parameters_after,cache_bytes");
}

TEST_CASE("cli: convert refuses what it cannot do, and leaves nothing") {
  const auto refused = [](const Finished& finished, const std::string& text) {
    CHECK(not_refused(finished, 2) == "");
    CHECK_MESSAGE(has(finished.err, text), finished.err);
    CHECK_FALSE(std::filesystem::exists(convert_folder() / "no"));
  };
  const auto path = [](const char* name) { return (convert_folder() / name).string(); };
  refused(mixgrad("convert --select fraction=0.5 --out x"), "--checkpoint DIR is required");
  refused(mixgrad("convert --select fraction=0.5", {"--checkpoint", base_run()}), "--out DIR is required");
  refused(convert("no", ""), "--select RULE=VALUE is required");
  refused(convert("no", "--select fraction=1.5"), "fraction must be a number from 0 to 1");
  refused(convert("no", "--select threshold=1 --data " + text_path()),
          "a threshold that at least one group reaches is required");
  refused(convert("no", "--select groups=2:0 --data " + text_path()), "softmax groups of the model are required");
  refused(convert("no", "--select fraction=0.5 --to windo"), "did you mean \"window\"?");
  refused(convert("no", "--select fraction=0.5 --to window --init zero-out"), "heads with a window keep their weights");
  refused(convert("no", "--select fraction=0.5 --to shift --expand 2"), "it belongs to --to recurformer");
  refused(convert("no", "--select random=0.5 --window 3"), "it belongs to --to window, and to a --select by recency");
  refused(convert("no", "--select fraction=0.5 --to window --seed 3"), "nothing is drawn");
  refused(convert("no", "--select fraction=0.5 --expand 3"), "--expand must be an integer from 1 to 2");
  convert("there", "--select groups=0:0");
  refused(convert("there", "--select groups=0:0"), "must be a folder that does not exist");
  const Finished textless =
      mixgrad("convert --select fraction=0.5 --threads 1", {"--checkpoint", path("there"), "--out", path("no")});
  refused(textless, "--data FILE is required");
  mixgrad("convert --select fraction=1 --threads 1", {"--checkpoint", base_run(), "--out", path("all")});
  refused(mixgrad("convert --select random=0.5 --threads 1", {"--checkpoint", path("all"), "--out", path("no")}),
          "a model with softmax heads is required");
}

}  // namespace
}  // namespace mixgrad::test
