// tokenize, detokenize, and --tokenizer with names, files and folders.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

std::string fixture_path(const std::string& name) {
  return std::string(MIXGRAD_SOURCE_DIR) + "/tests/nn/tokenizers/fixtures/" + name;
}

void check_there_and_back(const TempFolder& folder, const std::string& tokenizer, const std::string& text) {
  INFO(tokenizer);
  const std::string path = folder.put("text", text).string();
  const Finished ids = run_program({"tokenize", "--tokenizer", tokenizer, path});
  CHECK(trouble(ids) == "");
  CHECK(std::count(ids.out.begin(), ids.out.end(), '\n') == 1);
  const Finished json = run_program({"tokenize", "--tokenizer", tokenizer, path, "--json"});
  CHECK(trouble(json) == "");
  const Json object = json_of(json.out);
  CHECK(keys_of(object) == "ids,tokens,bytes");
  CHECK(object["bytes"] == text.size());
  CHECK(object["tokens"] == object["ids"].size());
  std::string line;
  for (const Json& id : object["ids"]) line += (line.empty() ? "" : " ") + id.dump();
  CHECK(ids.out == line + "\n");
  const std::string ids_path = folder.put("ids", ids.out).string();
  const Finished back = run_program({"detokenize", "--tokenizer", tokenizer, ids_path});
  CHECK(back.code == 0);
  CHECK(back.out == text);
}

TEST_CASE("cli tokenize: ids on one line, and detokenize gives the bytes back") {
  const TempFolder folder;
  const std::string any("It's\xef\xbb\xbf  12345\r\n\xff\xc3 caf\xc3\xa9 \0\t\n", 28);
  const std::string run = (folder / "run").string();
  folder.put("own.txt", small_text());
  REQUIRE(mixgrad("train" + kTiny + "--steps 1 --tokenizer bpe:270",
                  {"--data", (folder / "own.txt").string(), "--out", run})
              .code == 0);
  for (const std::string& tokenizer : {std::string("byte"), fixture_path("gpt2.json"), fixture_path("llama2.json"), run,
                                       run + "/latest", run + "/latest/tokenizer.json"}) {
    check_there_and_back(folder, tokenizer, any);
    check_there_and_back(folder, tokenizer, "");
  }
  CHECK(run_program({"tokenize", "--tokenizer", "byte", folder.put("ab", "ab").string()}).out == "97 98\n");
  CHECK(run_program({"tokenize", "--tokenizer", "char", folder.put("ba", "ba").string()}).out == "1 0\n");
  CHECK(run_program({"tokenize", "--tokenizer", "bpe:257", folder.put("abab", "abab").string()}).out == "256 256\n");
}

TEST_CASE("cli tokenize: one byte order mark at the beginning is skipped, as in a text to train on") {
  const TempFolder folder;
  const std::string mark = "\xef\xbb\xbf";
  for (const char* tokenizer : {"byte", "char", "bpe:257"}) {
    const Finished plain = run_program({"tokenize", "--tokenizer", tokenizer, folder.put("a", "abab").string()});
    const Finished marked =
        run_program({"tokenize", "--tokenizer", tokenizer, folder.put("b", mark + "abab").string()});
    CHECK(trouble(marked) == "");
    CHECK(marked.out == plain.out);
  }
  const std::string twice = folder.put("c", mark + mark).string();
  CHECK(run_program({"tokenize", "--tokenizer", "byte", twice}).out == "239 187 191\n");
  const std::string ids = folder.put("ids", mark + "97 98").string();
  CHECK(run_program({"detokenize", "--tokenizer", "byte", ids}).out == "ab");
}

TEST_CASE("cli tokenize: the tokenizer of a run, whatever became of its links") {
  const TempFolder folder;
  folder.put("own.txt", small_text());
  const fs::path run = folder / "run";
  REQUIRE(mixgrad("train" + kTiny + "--steps 4 --eval-every 2",
                  {"--data", (folder / "own.txt").string(), "--out", run.string()})
              .code == 0);
  const std::string text = folder.put("text", small_text().substr(0, 20)).string();
  const std::string want = run_program({"tokenize", "--tokenizer", run.string(), text}).out;
  for (const std::string name : {"latest", "best"}) {
    for (const std::string form : {"link", "text", "dangling", "absent"}) {
      const std::string at = (run / name).string();
      if (form != "link") fs::remove(at);
      if (form == "text") folder.put("run/" + name, "step-4\n");
      if (form == "dangling") fs::create_directory_symlink("step-99", at);
      for (const std::string& spelling : {at, at + "/"}) {
        CAPTURE(form);
        CAPTURE(spelling);
        const Finished got = run_program({"tokenize", "--tokenizer", spelling, text});
        CHECK(trouble(got) == "");
        CHECK(got.out == want);
      }
    }
  }
}

TEST_CASE("cli tokenize: what is missing, wrong or unknown") {
  const TempFolder folder;
  const auto refused = [&](const Arguments& arguments, int code, const std::string& text) {
    const Finished run = run_program(arguments);
    CHECK(not_refused(run, code) == "");
    CHECK_MESSAGE(has(run.err, text), run.err);
    CHECK(run.out.empty());
  };
  const std::string text = folder.put("text", "ab").string();
  refused({"tokenize", text}, 2, "tokenize: --tokenizer TOKENIZER is required");
  refused({"detokenize", text}, 2, "detokenize: --tokenizer TOKENIZER is required");
  refused({"tokenize", "--tokenizer", "byte", text, text}, 2, "one FILE can be given; got 2");
  refused({"detokenize", "--tokenizer", "byte", text, text}, 2, "one FILE can be given; got 2");
  refused(
      {"tokenize", "--tokenizer", "bite", text}, 2,
      "--tokenizer must be one of char, byte, bpe:N, or a file or folder; got \"bite\", which is none of them; did you "
      "mean \"byte\"?");
  refused({"tokenize", "--tokenizer", "byte", ""}, 2,
          "tokenize: FILE must name a file, or be - for stdin; got an empty");
  refused({"detokenize", "--tokenizer", "byte", ""}, 2, "detokenize: FILE must name a file, or be - for stdin");
  refused({"tokenize", "--tokenizer", "no/such/file", text}, 4, "No such file or directory");
  refused({"tokenize", "--tokenizer", "bpe", text}, 2, "bpe must have the form bpe:N");
  refused({"tokenize", "--tokenizer", "bpe:12", text}, 2, "needs a number of tokens from 257 to 1048576");
  refused({"tokenize", "--tokenizer", "bpe:300", text}, 3, "after 256 tokens no pair does");
  refused({"tokenize", "--tokenizer", "byte", (folder / "none").string()}, 4, "No such file or directory");
  refused({"detokenize", "--tokenizer", "char", text}, 2,
          "detokenize: --tokenizer must be one that exists; got \"char\"");
  refused({"detokenize", "--tokenizer", "byte", text}, 3,
          "every word must be a token id from 0 to 255; found \"ab\" at byte 0");
  refused({"detokenize", "--tokenizer", "byte", folder.put("ids", "1 256").string()}, 3, "found \"256\" at byte 2");
  refused({"detokenize", "--tokenizer", "byte", folder.put("ids", "1 -1").string()}, 3, "found \"-1\" at byte 2");
  refused({"tokenize", "--tokenizer", folder.path().string(), text}, 3, "a folder with a tokenizer must hold");
  const std::string unigram = folder.put("u.json", R"({"model":{"type":"Unigram"}})").string();
  refused({"tokenize", "--tokenizer", unigram, text}, 3, "model.type must be BPE; found \"Unigram\"");
  const std::string one = folder.put("one.json", R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})").string();
  refused({"tokenize", "--tokenizer", one, text}, 3,
          "which has no unknown token; found 'b' (U+0062) at byte 1 (line 1)");
}

TEST_CASE("cli tokenizer: a run keeps the whole tokenizer of a file, for generate, eval and resuming") {
  const TempFolder folder;
  const std::string text = folder.put("own.txt", small_text()).string();
  const std::string tokenizer = folder.put("foreign.json", TempFolder::get(fixture_path("llama3.json"))).string();
  const std::string run = (folder / "run").string();
  const Finished trained = mixgrad("train --json" + kTiny + "--steps 4 --stop-after 2 --save-every 2",
                                   {"--data", text, "--out", run, "--tokenizer", tokenizer});
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  CHECK(TempFolder::get(folder / "run/latest/tokenizer.json") == TempFolder::get(tokenizer));
  fs::remove(tokenizer);
  CHECK(mixgrad("train --json --resume " + run).code == 0);
  const Finished generated = mixgrad("generate --tokens 5 --threads 1 --prompt the --checkpoint " + run);
  CHECK(generated.code == 0);
  CHECK(generated.out.starts_with("the"));
  const Finished evaluated = mixgrad("eval --json --threads 1 --checkpoint " + run);
  CHECK(evaluated.code == 0);
  CHECK(json_of(evaluated.out)["bits_per_byte"].get<double>() > 0);
  const Finished other = mixgrad("train --json" + kTiny + "--steps 1",
                                 {"--data", text, "--out", (folder / "other").string(), "--tokenizer", run});
  CHECK(other.code == 0);
  CHECK(TempFolder::get(folder / "other/latest/tokenizer.json") ==
        TempFolder::get(folder / "run/latest/tokenizer.json"));
}

}  // namespace
}  // namespace mixgrad::test
