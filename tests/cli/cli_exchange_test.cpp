// import, export, and how generation begins with the tokenizer's start token.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>

#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

std::string model_fixture(const std::string& kind) {
  return std::string(MIXGRAD_SOURCE_DIR) + "/tests/nn/exchange/fixtures/" + kind;
}

std::string tokenizer_fixture(const std::string& name) {
  return std::string(MIXGRAD_SOURCE_DIR) + "/tests/nn/tokenizers/fixtures/" + name;
}

// Little-endian ids from 0 to 10.
std::string ids_file(const TempFolder& folder, std::size_t count) {
  std::string content;
  for (std::size_t i = 0; i < count; ++i) {
    content += static_cast<char>(i * 7 % 11);
    content += '\0';
  }
  return folder.put("tokens.u16", content).string();
}

TEST_CASE("cli import: says what came in; the model takes token ids") {
  const TempFolder folder;
  const std::string out = (folder / "ours").string();
  const Finished run = run_program({"import", model_fixture("llama"), "--out", out});
  CHECK(trouble(run) == "");
  for (const char* text :
       {"hf\n", "llama (LlamaForCausalLM)\n", "2, 8 wide: attention(heads=4,kv_heads=2)\n", " of type F32\n",
        "none: token ids\n", "- F16 weights are stored as F32", "- the source has no tokenizer"}) {
    CHECK(has(run.out, text));
  }
  const Finished eval = run_program({"eval", "--checkpoint", out, "--data", ids_file(folder, 400), "--json"});
  CHECK(trouble(eval) == "");
  CHECK(json_of(eval.out)["loss"].get<double>() > 0);
  const Finished text =
      run_program({"generate", "--checkpoint", out, "--prompt", "3 1 ", "--tokens", "5", "--temperature", "0"});
  CHECK(trouble(text) == "");
  CHECK(text.out.starts_with("3 1 "));
  CHECK(words(text.out).size() == 7);
  const Finished json = run_program({"import", model_fixture("llama"), "--out", (folder / "b").string(), "--json"});
  CHECK(trouble(json) == "");
  CHECK(keys_of(json_of(json.out)) == "format,kind,layers,parameters,vocab_size,context,tokenizer,decisions,out");
}

TEST_CASE("cli import: refuses with one line and leaves nothing") {
  const TempFolder folder;
  const std::string out = (folder / "out").string();
  const auto refused = [&](Arguments arguments, int code, const std::string& text) {
    arguments.insert(arguments.begin(), "import");
    const Finished run = run_program(arguments);
    CHECK(not_refused(run, code) == "");
    CHECK(has(run.err, text));
    CHECK_FALSE(fs::exists(out));
  };
  refused({model_fixture("llama")}, 2, "--out DIR is required");
  refused({model_fixture("llama"), model_fixture("gpt2"), "--out", out}, 2, "one SOURCE is required; got 2");
  refused({(folder / "none").string(), "--out", out}, 4, "there is none; check the path");
  refused({folder.put("m.pt", "PK\x03\x04").string(), "--out", out}, 3, "this is a pickle of PyTorch");
  refused({model_fixture("llama"), "--out", out, "--context", "99"}, 2, "--context must be at most 16");
  refused({model_fixture("llama"), "--out", out, "--tokenizer", tokenizer_fixture("gpt2.json")}, 3,
          "the tokenizer must have at most 11 tokens");
  refused({model_fixture("llama"), "--out", out, "--tokenizer", (folder / "none").string()}, 4, "none");
}

TEST_CASE("cli export: a hybrid is refused with the layers that stand in the way") {
  const TempFolder folder;
  const std::string text = folder.put("text", small_text()).string();
  const std::string run = (folder / "run").string(), out = (folder / "out").string();
  REQUIRE(mixgrad("train" + kTiny + "--steps 1 --layers 3 --mixer attention,hsm:scalar,hsm:vector",
                  {"--data", text, "--out", run})
              .code == 0);
  const auto refused = [&](const Arguments& arguments, int code, const std::string& message) {
    const Finished refusal = run_program(arguments);
    CHECK(not_refused(refusal, code) == "");
    CHECK(has(refusal.err, message));
    CHECK_FALSE(fs::exists(out));
    CHECK(folder.file_count() == 2);
  };
  refused({"export", run, "--format", "hf", "--out", out}, 2,
          "every layer must be attention; layers[1] is hsm, layers[2] is hsm");
  refused({"export", run, "--format", "llama2c", "--out", out}, 2, "norm must be rmsnorm; it is layernorm");
  refused({"export", run, "--format", "onnx", "--out", out}, 2, "--format");
  refused({"export", run, "--format", "hf"}, 2, "--out DIR is required");
  refused({"export", run, "--format", "hf", "--out", text}, 2, "it is no folder");
  refused({"export", (folder / "none").string(), "--out", out}, 4, "a checkpoint is required");
}

TEST_CASE("cli export: a folder for transformers with its page, and back") {
  const TempFolder folder;
  const std::string text = folder.put("text", small_text()).string();
  const std::string run = (folder / "run").string(), out = (folder / "out").string();
  REQUIRE(mixgrad("train" + kTiny + "--steps 1 --norm rmsnorm --mlp swiglu --tokenizer bpe:270",
                  {"--data", text, "--out", run})
              .code == 0);
  const Finished exported = run_program({"export", run, "--format", "hf", "--out", out});
  CHECK(trouble(exported) == "");
  CHECK(has(exported.out, "README.md, config.json, generation_config.json, model.safetensors, tokenizer.json"));
  CHECK(has(exported.out, "- it is a model of the kind llama (LlamaForCausalLM)"));
  CHECK(has(TempFolder::get(fs::path(out) / "README.md"), "| training | step 1"));
  const std::string back = (folder / "back").string();
  CHECK(trouble(run_program({"import", out, "--out", back})) == "");
  const Arguments generate{"generate", "--prompt", "the", "--tokens", "20", "--temperature", "0", "--checkpoint"};
  const auto text_of = [&](const std::string& checkpoint) {
    Arguments arguments = generate;
    arguments.push_back(checkpoint);
    return run_program(arguments).out;
  };
  CHECK(text_of(back) == text_of(run));
}

TEST_CASE("cli generate: begins with the tokenizer's start token, which is not shown") {
  const TempFolder folder;
  const std::string text = folder.put("text", small_text()).string();
  const auto train = [&](const std::string& name, const std::string& tokenizer) {
    const std::string out = (folder / name).string();
    REQUIRE(mixgrad("train" + kTiny + "--steps 1", {"--data", text, "--out", out, "--tokenizer", tokenizer}).code == 0);
    return out;
  };
  const auto generated = [&](const std::string& checkpoint, const Arguments& more) {
    Arguments arguments{"generate", "--checkpoint", checkpoint, "--tokens", "8", "--temperature", "0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  };
  const std::string llama2 = train("llama2", tokenizer_fixture("llama2.json"));
  CHECK(trouble(generated(llama2, {})) == "");
  const Finished start = run_program({"generate", "--checkpoint", llama2, "--tokens", "0"});
  CHECK(trouble(start) == "");
  CHECK(start.out == "\n");  // the end of the output, nothing before it
  const Finished started = generated(llama2, {"--prompt", "the", "--start-token"});
  CHECK(trouble(started) == "");
  CHECK(started.out.starts_with("the"));
  const Finished alone = generated(llama2, {"--start-token"});
  CHECK(not_refused(alone, 2) == "");
  const std::string chars = train("chars", "char");
  CHECK(generated(chars, {}).out.starts_with("\n"));
  const Finished none = generated(chars, {"--prompt", "the", "--start-token"});
  CHECK(not_refused(none, 2) == "");
  CHECK(has(none.err, "--start-token needs a tokenizer that has a start token"));
}

TEST_CASE("cli generate: ends at the tokenizer's end token, which is no part of the text") {
  const TempFolder folder;
  // A text in which every third token or so is the end token, 2 in this tokenizer: the model soon knows that.
  std::string sentences;
  for (int i = 0; i < 400; ++i) sentences += "the cat</s>";
  const std::string text = folder.put("text", sentences).string();
  const std::string run = (folder / "run").string();
  REQUIRE(mixgrad("train" + kTiny + "--steps 200",
                  {"--data", text, "--out", run, "--tokenizer", tokenizer_fixture("llama2.json")})
              .code == 0);
  const Arguments generate{"generate", "--checkpoint", run,      "--tokens",  "2000", "--samples",     "3",
                           "--prompt", "the",          "--json", "--threads", "1",    "--temperature", "0.5"};
  const Finished ended = run_program(generate);
  REQUIRE_MESSAGE(ended.code == 0, ended.err);
  const auto ends = [](const Json& sample) { return std::count(sample["ids"].begin(), sample["ids"].end(), Json(2)); };
  for (const Json& sample : json_lines(ended.out)) {
    CHECK(sample["end"] == "end_token");
    CHECK(sample["ids"].size() < 2000);
    CHECK(sample["ids"].back() == 2);
    CHECK(ends(sample) == 1);
    CHECK_FALSE(has(sample["text"].get<std::string>(), "</s>"));
  }
  Arguments on = generate;
  on.emplace_back("--ignore-end");
  const std::vector<Json> whole = json_lines(run_program(on).out);
  REQUIRE(whole.size() == 3);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    CHECK(whole[i]["end"] == "tokens");
    CHECK(whole[i]["ids"].size() == 2000);
    CHECK(ends(whole[i]) > 0);
    CHECK(whole[i]["text"].get<std::string>().starts_with(json_lines(ended.out)[i]["text"].get<std::string>()));
  }
  const std::string chars = (folder / "chars").string();
  REQUIRE(mixgrad("train" + kTiny + "--steps 1", {"--data", text, "--out", chars}).code == 0);
  const Finished none = run_program({"generate", "--checkpoint", chars, "--ignore-end"});
  CHECK(not_refused(none, 2) == "");
  CHECK(has(none.err, "--ignore-end needs a tokenizer with a token that ends a text"));
}

}  // namespace
}  // namespace mixgrad::test
