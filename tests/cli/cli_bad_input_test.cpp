// Bad input: one clear line, the right exit code, no trace, in time and without much memory; nothing is lost.
#include "tests/support/cli.h"

#include <doctest/doctest.h>

#include <cstring>

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

// The run is refused with this code, and its line holds `text`.
void check_refused(const Finished& run, int code, const std::string& text) {
  CHECK(not_refused(run, code) == "");
  INFO(run.err);
  CHECK(has(run.err, text));
  CHECK(run.out == "");
}

TEST_CASE("cli bad input: data files") {
  const TempFolder folder;
  const auto refused = [&](const std::string& path, const std::string& options, int code, const std::string& text) {
    INFO(path << " " << options);
    check_refused(mixgrad("train" + kTiny + options, {"--data", path, "--out", (folder / "run").string()}), code, text);
    CHECK(!fs::exists(folder / "run"));
  };
  refused((folder / "missing").string(), "", 4, "No such file or directory");
  refused(folder.path().string(), "", 3, "at least one file to read is required; there is none");
  refused("/dev/null", "", 4, "this is not a regular file");
  refused(folder.put("empty", "").string(), "", 3, "text is required to take the vocabulary from; it is empty");
  refused(folder.put("empty", "").string(), "--tokenizer byte", 3, "at least two tokens are required");
  refused(folder.put("one", "x").string(), "", 3, "at least two tokens are required");
  refused(folder.put("short", "the cat").string(), "", 2, "context 8 needs at least 8 + 1 training tokens");
  refused(folder.put("short", "the cat").string(), "--context 16777216 --positions learned", 2, "there are 6");
  refused(folder.put("latin1", "caf\xe9 au lait").string(), "", 3, "an invalid sequence begins at byte 3");
}

TEST_CASE("cli bad input: models that cannot be") {
  const TempFolder folder;
  folder.put("text.txt", small_text());
  const auto refused = [&](const std::string& options, const std::string& text) {
    INFO(options);
    check_refused(train_tiny(folder, "run", options), 2, text);
    CHECK(!fs::exists(folder / "run"));
  };
  refused("--heads 3", "d_model must be a multiple of layers[0].heads; got 16 and 3");
  refused("--heads 4 --kv-heads 3", "layers[0].heads must be a multiple of kv_heads; got 4 and 3");
  refused("--heads 16", "positions rope needs an even head width d_model / heads; got 16 / 16 = 1");
  refused("--mixer atention", "did you mean \"attention\"?");
  refused("--mixer hsm:matrics", "did you mean \"hsm:matrix\"?");
  refused("--mixer hsm:scalar(", "an unclosed parenthesis");
  refused("--mixer hsm:scalar(head=2)", "did you mean \"heads\"?");
  refused("--positions rotary", "--positions must be one of learned, rope, none; got \"rotary\"");
  refused("--vocab 5", "--vocab must be at least the tokenizer's 19 tokens (or 0), got 5");
  refused("--min-lr 0.1", "--min-lr must be at most --lr (0.01); got 0.1");
}

TEST_CASE("cli bad input: every number out of its range is refused before anything is done") {
  const TempFolder folder;
  const auto refused = [](const std::string& verb, const std::string& option, const std::string& value) {
    INFO(verb << " --" << option << " " << value);
    const Finished run = mixgrad(verb + " --" + option + " " + value);
    check_refused(run, 2, "--" + option + " must be ");
    CHECK(has(run.err, "; got \"" + value + "\"; see mixgrad "));
  };
  const Arguments bad{"-1", "1e30", "1099511627776", "nan", "x", "-1e-9", "inf", "1e999"};
  std::size_t next = 0;
  for (const std::string option :
       {"vocab", "kv-heads", "d-ff", "warmup", "threads", "lr", "min-lr", "weight-decay", "beta1", "beta2", "hsm-scale",
        "stop-after", "eval-every", "save-every", "context", "d-model"}) {
    const std::string& value = option == "hsm-scale" ? bad[1] : bad[next++ % bad.size()];
    refused("train --out " + (folder / "run").string(), option, value);
  }
  for (const std::string option :
       {"layers", "heads", "batch", "steps", "accumulate", "log-every", "clip", "norm-eps", "rope-theta", "eps"}) {
    refused("train --out " + (folder / "run").string(), option, "0");
  }
  refused("train", "seed", "-1");
  refused("inspect tape", "seed", "18446744073709551616");
  refused("eval", "batch", "1099511627776");
  refused("bench train", "rounds", "nan");
  CHECK(!fs::exists(folder / "run"));
}

TEST_CASE("cli bad input: sizes within their ranges that no memory can hold") {
  if (kSanitized) return;  // the sanitizer ends the process where the program gets no memory
  const TempFolder folder;
  folder.put("text.txt", small_text());
  for (const std::string options :
       {"--d-model 65536 --layers 64", "--batch 1048576 --context 1000", "--vocab 16777216 --d-model 4096"}) {
    INFO(options);
    const Finished run = train_tiny(folder, "run", "--steps 1 " + options);
    INFO(run.err);
    CHECK(run.code == 4);
    CHECK(has(run.err, "mixgrad: out of memory on cpu: "));
    CHECK(lines_of(run.err).back().starts_with("mixgrad: out of memory"));
  }
}

// A trained run whose files are then broken one at a time.
class Broken {
 public:
  Broken() {
    folder_.put("text.txt", small_text());
    REQUIRE(train_tiny(folder_, "run", "--steps 1").code == 0);
    weights_ = TempFolder::get(generation() / "model.safetensors");
    std::uint64_t length = 0;
    std::memcpy(&length, weights_.data(), sizeof length);
    header_ = json_of(weights_.substr(8, length));
    data_ = weights_.substr(8 + length);
  }

  fs::path generation() const { return folder_ / "run" / "step-1"; }
  const std::string& weights() const { return weights_; }
  const Json& header() const { return header_; }
  const std::string& data() const { return data_; }

  // The weights with another header or other data.
  void weights(const std::string& header, const std::string& data, int code, const std::string& text) const {
    const std::uint64_t length = header.size();
    std::string content(8, '\0');
    std::memcpy(content.data(), &length, sizeof length);
    file("model.safetensors", content + header + data, code, text);
  }

  // Puts the content, lets generate and eval by turns read it, and puts back what was there.
  void file(const std::string& name, const std::string& content, int code, const std::string& text) const {
    INFO(name << ": " << text);
    const std::string before = TempFolder::get(generation() / name);
    folder_.put("run/step-1/" + name, content);
    const std::string run = (folder_ / "run").string();
    static int turn = 0;
    const Finished finished =
        turn++ % 2 == 0 ? mixgrad("generate --threads 1 --tokens 1", {"--checkpoint", run, "--prompt", "the"})
                        : mixgrad("eval --threads 1", {"--checkpoint", run, "--data", (folder_ / "text.txt").string()});
    check_refused(finished, code, text);
    CHECK(has(finished.err, name));
    folder_.put("run/step-1/" + name, before);
  }

 private:
  TempFolder folder_;
  std::string weights_, data_;
  Json header_;
};

TEST_CASE("cli bad input: broken weights") {
  const Broken broken;
  const std::string& whole = broken.weights();
  broken.file("model.safetensors", "", 3, "at least 8 bytes");
  broken.file("model.safetensors", whole.substr(0, 100), 3, "the header must lie in the file");
  broken.file("model.safetensors", whole.substr(0, whole.size() - 4), 3, "it is truncated");
  broken.file("model.safetensors", whole + "1234", 3, "trailing bytes");

  const std::string name = "layers.0.mlp.down.weight";
  Json header = broken.header();
  REQUIRE(header.contains(name));
  header[name]["shape"] = {header[name]["shape"][1], header[name]["shape"][0]};
  broken.weights(header.dump(), broken.data(), 3, "'" + name + "' must be [16,64] by config.json, found [64,16]");
  header = broken.header();
  header[name]["dtype"] = "I32";
  broken.weights(header.dump(), broken.data(), 3, "must be F64, F32 or BF16, found i32");
  header[name]["dtype"] = "F16";
  broken.weights(header.dump(), broken.data(), 3, "must be of type F64, F32, BF16 or I32; found \"F16\"");

  std::string twice = broken.header().dump();
  twice.insert(1, "\"" + name + "\":" + broken.header()[name].dump() + ",");
  broken.weights(twice, broken.data(), 3, "occurs twice");
  header = broken.header();
  header[name]["data_offsets"] = {0, 16 * 64 * 4};
  broken.weights(header.dump(), broken.data(), 3, "without overlap");

  header = broken.header();
  const auto bytes = header["norm.weight"]["data_offsets"];
  header.erase("norm.weight");
  header["norm.weigth"] = {{"dtype", "F32"}, {"shape", {16}}, {"data_offsets", bytes}};
  broken.weights(header.dump(), broken.data(), 3, "'norm.weight' [16] is required by config.json and missing");
  header = broken.header();
  const std::size_t size = broken.data().size();
  header["extra"] = {{"dtype", "F32"}, {"shape", {1}}, {"data_offsets", {size, size + 4}}};
  broken.weights(header.dump(), broken.data() + "1234", 3, "'extra' is not part of the model");
  header["extra"]["shape"] = {std::int64_t{1} << 62U, 16};
  broken.weights(header.dump(), broken.data() + "1234", 3, "\"extra\"");
}

TEST_CASE("cli bad input: broken descriptions beside the weights") {
  const Broken broken;
  const std::string config = TempFolder::get(broken.generation() / "config.json");
  broken.file("config.json", config.substr(0, config.size() / 2), 3, "valid JSON is required");
  Json changed = json_of(config);
  changed["layerz"] = 1;
  broken.file("config.json", changed.dump(), 3, "did you mean \"layers\"?");
  changed = json_of(config);
  changed["d_model"] = 1 << 16;
  changed["d_ff"] = 1 << 20;
  broken.file("config.json", changed.dump(), 3, "model.safetensors");  // without memory for such a model
  changed["d_model"] = 1e30;
  broken.file("config.json", changed.dump(), 3, "d_model must be an integer from 1 to 65536");

  broken.file("tokenizer.json", "[1,2", 3, "valid JSON is required");
  broken.file("tokenizer.json", R"({"type":"byte"})", 3, "has 256 tokens, but the model's vocab_size is 19");
  broken.file("tokenizer.json", R"({"type":"char","vocab":["a","a"]})", 3, "a character that has not occurred");
}

TEST_CASE("cli bad input: a checkpoint that is not there") {
  const TempFolder folder;
  const auto refused = [](const fs::path& path, int code, const std::string& text) {
    INFO(path.string());
    check_refused(mixgrad("generate --tokens 1", {"--checkpoint", path.string()}), code, text);
  };
  refused(folder / "nowhere", 4, "a checkpoint is required");
  refused(folder.put("file", "x"), 4, "a checkpoint is required");
  fs::create_directory_symlink("step-9", folder / "latest");  // of a generation that was deleted
  refused(folder.path(), 4, "a checkpoint is required");
}

TEST_CASE("cli bad input: an output folder that cannot be") {
  const TempFolder folder;
  const std::string data = folder.put("text.txt", small_text()).string();
  const auto refused = [&](const std::string& out) {
    INFO(out);
    const Finished run = mixgrad("train --steps 4" + kTiny, {"--data", data, "--out", out});
    CHECK(run.code == 4);
    const std::vector<std::string> lines = lines_of(run.err);
    REQUIRE(lines.size() == 3);  // the data, the model, and why not
    CHECK(lines[2].starts_with("mixgrad: " + out + ": a folder is required here"));
    CHECK(run.out == "");
  };
  refused(data + "/run");
  refused(data);
  refused("/proc/mixgrad/run");
  check_refused(mixgrad("train --steps 1" + kTiny, {"--data", data}), 2, "--out DIR is required");
  check_refused(
      mixgrad("train --steps 1" + kTiny, {"--data", "no\nsuch\x1b[31mfile", "--out", (folder / "a").string()}), 4,
      "no\\nsuch\\x1b[31mfile: a readable file is required");
}

}  // namespace
}  // namespace mixgrad::test
