// --data SOURCE... of train and eval: several sources, kinds of data, stdin, and what a resumed run remembers.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>

#include "nn/files/generations.h"
#include "nn/training/checkpoint.h"
#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

Finished train_on(const TempFolder& folder, const std::string& name, const Arguments& sources, int steps = 4) {
  Arguments arguments = words("train --json --eval-every 2 --steps " + std::to_string(steps) + kTiny);
  arguments.insert(arguments.end(), {"--out", (folder / name).string()});
  arguments.insert(arguments.end(), sources.begin(), sources.end());
  return run_program(arguments);
}

std::string model_bytes(const fs::path& run) { return TempFolder::get(find_generation(run) / "model.safetensors"); }

// Trains, stops after two steps, resumes: the same bytes as without the stop, and eval finds the data by itself.
void check_resumes(const TempFolder& folder, const Arguments& sources) {
  INFO(sources[1]);
  const Finished whole = train_on(folder, "whole", sources);
  CHECK_MESSAGE(whole.code == 0, whole.err);
  Arguments part = sources;
  part.insert(part.end(), {"--stop-after", "2"});
  const Finished stopped = train_on(folder, "part", part);
  CHECK_MESSAGE(stopped.code == 0, stopped.err);
  const Finished resumed = mixgrad("train --json --resume " + (folder / "part").string());
  CHECK_MESSAGE(resumed.code == 0, resumed.err);
  CHECK(model_bytes(folder / "whole") == model_bytes(folder / "part"));
  const Finished eval = mixgrad("eval --json --checkpoint " + (folder / "whole").string());
  CHECK_MESSAGE(eval.code == 0, eval.err);
  CHECK(json_of(eval.out)["loss"] == json_lines(whole.out).back()["val_loss"]);
  fs::remove_all(folder / "whole");
  fs::remove_all(folder / "part");
}

TEST_CASE("cli sources: runs on text, records, tunes and ids resume with what they remember") {
  const TempFolder folder;
  std::string lines, rows = "id,story\n", tunes, ids;
  for (int i = 0; i < 30; ++i) {
    const std::string words_of = "the cat " + std::to_string(i) + " sat on the mat";
    lines += "{\"n\":1,\"text\":\"" + words_of + "\"}\n";
    rows += std::to_string(i) + ",\"" + words_of + ", and more\"\n";
    tunes += "X:" + std::to_string(i) + "\nK:G\nABc|\n\n";
    for (int k = 0; k < 20; ++k) ids += static_cast<char>((i * k) % 11);
  }
  fs::create_directory(folder / "texts");
  folder.put("texts/a.txt", small_text());
  folder.put("texts/b.txt", small_text());
  const auto path = [&](const char* name, const std::string& content) { return folder.put(name, content).string(); };
  check_resumes(folder, {"--data", (folder / "texts").string()});
  check_resumes(folder, {"--data", (folder / "texts/*.txt").string(), path("c.txt", small_text())});
  check_resumes(folder, {"--data", path("d.jsonl", lines), "--field", "text", "--document-token", "\n"});
  check_resumes(folder, {"--data", path("d.csv", rows), "--column", "story", "--valid", "0.3"});
  check_resumes(folder, {"--data", path("d.abc", tunes), "--valid", path("v.abc", tunes.substr(0, 100))});
  check_resumes(folder, {"--data", path("d.u8", ids), "--sampling", "shuffle"});
  check_resumes(folder, {"--data", path("s.txt", small_text()), "--sampling", "shuffle"});
  check_resumes(folder,
                {"--data", path("e.u8", ids), "--valid", path("v.u8", "\1\2\3\1\2\3\1\2\3\4"), "--vocab", "40"});
}

TEST_CASE("cli sources: hidden files, unknown binary files and links of a folder are left out and counted") {
  const TempFolder folder;
  std::filesystem::create_directories(folder / "in" / "deep");
  folder.put("in/a.txt", small_text());
  folder.put("in/.b.txt", small_text());
  folder.put("in/deep/c.md", small_text());
  folder.put("in/deep/picture", std::string("\x89PNG\0\1\2", 7));
  const std::string left_out = "(1 hidden and 1 unknown binary files left out)";
  const Finished run = train_on(folder, "run", {"--data", (folder / "in").string()});
  CHECK_MESSAGE(has(run.err, " for validation " + left_out), run.err);
  CHECK(has(run_program({"data", "show", (folder / "in").string()}).out, left_out));
  const Finished prepared =
      run_program({"data", "prepare", (folder / "in").string(), "--out", (folder / "out").string(), "--json"});
  CHECK(json_of(prepared.out)["left_out"] == 2);
  CHECK_FALSE(has(train_on(folder, "two", {"--data", (folder / "in/a.txt").string()}).err, "left out"));
  // Those of --valid are counted as well.
  std::filesystem::create_directories(folder / "held");
  folder.put("held/a.txt", small_text());
  std::filesystem::create_directory_symlink(folder / "in", folder / "held" / "more");
  const auto with_both = [&](Arguments begin, const Arguments& more = {}) {
    begin.insert(begin.end(), {(folder / "in").string(), "--valid", (folder / "held").string()});
    begin.insert(begin.end(), more.begin(), more.end());
    return begin;
  };
  const std::string with_link = "(1 hidden and 1 unknown binary files and 1 link to a folder left out)";
  CHECK(has(train_on(folder, "three", with_both({"--data"})).err, " for validation " + with_link));
  CHECK(has(run_program(with_both({"data", "show"})).out, with_link));
  const Finished third = run_program(with_both({"data", "prepare"}, {"--out", (folder / "out2").string(), "--json"}));
  CHECK(json_of(third.out)["left_out"] == 3);
}

TEST_CASE("cli sources: a run without validation") {
  const TempFolder folder;
  Arguments line = words("train --json --valid none --steps 4 --save-every 2" + kTiny);
  line.insert(line.end(), {"--data", folder.put("t.txt", small_text()).string(), "--out", (folder / "run").string()});
  const Finished run = run_program(line);
  CHECK_MESSAGE(run.code == 0, run.err);
  CHECK(has(run.err, "saved in "));
  CHECK_FALSE(has(run.err, "validation loss"));
  CHECK(json_lines(run.out).back()["val_loss"].is_null());
  const Finished again = mixgrad("train --json --resume " + (folder / "run").string());
  CHECK(has(again.err, "nothing to do"));
  const Finished longer = mixgrad("train --json --steps 6 --resume " + (folder / "run").string());
  CHECK_MESSAGE(longer.code == 0, longer.err);
  CHECK(find_generation(folder / "run").filename() == "step-6");
  line.insert(line.end(), {"--early-stop", "patience=1"});
  CHECK(has(run_program(line).err, "--valid none has no evaluation"));
}

TEST_CASE("cli sources: samples of ids are numbers, and generate takes them") {
  const TempFolder folder;
  std::string ids;
  for (int i = 0; i < 400; ++i) ids += static_cast<char>(i % 13);
  const std::string run = (folder / "run").string();
  Arguments line = words("train --steps 2 --sample-tokens 5" + kTiny);
  line.insert(line.end(), {"--data", folder.put("d.u8", ids).string(), "--out", run});
  const Finished trained = run_program(line);
  CHECK_MESSAGE(trained.code == 0, trained.err);
  CHECK(words(trained.out).size() == 6);
  CHECK(words(trained.out)[0] == "0");
  const Finished text = run_program({"generate", "--checkpoint", run, "--prompt", "3 4", "--tokens", "3"});
  CHECK(words(text.out).size() == 5);
  CHECK(not_refused(run_program({"generate", "--checkpoint", run, "--prompt", "13"}), 2) == "");
  const Finished eval = mixgrad("eval --json --checkpoint " + run);
  CHECK(json_of(eval.out)["bits_per_byte"].is_null());
}

TEST_CASE("cli sources: what cannot be meant is refused before anything is written") {
  const TempFolder folder;
  const std::string ids = folder.put("d.u16", "abcdefghijklmnopqrstuvwxyz").string();
  const std::string lines = folder.put("d.jsonl", "{\"story\":\"x\"}\n").string();
  const std::string table = folder.put("d.csv", "a,b\n1,2\n").string();
  const std::string text = folder.put("d.txt", small_text()).string();
  const auto refused = [&](const Arguments& more, int code, const std::string& why) {
    const Finished run = train_on(folder, "run", more);
    CHECK_MESSAGE(not_refused(run, code) == "", run.err);
    CHECK_MESSAGE(has(run.err, why), run.err);
    CHECK_FALSE(fs::exists(folder / "run"));
  };
  refused({"--data", ids, "--tokenizer", "byte"}, 2, "--tokenizer cannot be given here: the data are token ids");
  refused({"--data", lines}, 2, "the object has the fields story; choose one with --field NAME");
  refused({"--data", table}, 2, "the file has the columns a, b; choose one with --column NAME");
  refused({"--data", table, "--column", "c"}, 3, "the column \"c\" is required");
  refused({"--data", text, ids}, 3, "all sources must hold text, or all of them token ids");
  refused({"--data", text, "--field", "text"}, 2, "--field cannot be given here: no source is JSON");
  refused({"--data", ids, "--vocab", "100"}, 3, "every token must be below the vocabulary of 100");
  refused({"--data", text, ""}, 2, "--data needs at least one character");
  refused({"--data", text, "--valid", "-"}, 2, "--valid must name files or folders");
  refused({"--data", text, "--valid", "1.5"}, 2, "a fraction must be above 0 and below 1");
  refused({"--data", text, "--document-token", "ab"}, 2, "--document-token must be one token of the vocabulary");
  refused({"--data", folder.put("w.wav", "RIFF").string()}, 3, "begins with RIFF");
  refused({"--data", folder.put("m.mid", "MThd").string()}, 3, "the length of the header must have 4 bytes");
}

TEST_CASE("cli sources: stdin is kept with the run") {
  const TempFolder folder;
  std::string lines;
  for (int i = 0; i < 30; ++i) lines += "{\"t\":\"the cat sat on mat " + std::to_string(i % 7) + "\"}\n";
  const std::string path = folder.put("lines", lines).string();
  const std::string run = (folder / "run").string();
  const auto shell = [&](const std::string& more) {
    std::string line = std::string(MIXGRAD_BINARY) + " train --data - --json --steps 2 " + kTiny + " --out " + run +
                       " " + more + " < " + path + " > /dev/null 2> " + (folder / "err").string();
    return std::system(line.c_str());  // NOLINT(concurrency-mt-unsafe)
  };
  CHECK(shell("--field none") != 0);
  CHECK_FALSE(fs::exists(run));  // nothing is left of a run that did not begin
  CHECK(shell("--field t") == 0);
  CHECK(TempFolder::get(fs::path(run) / "data-from-stdin.jsonl") == lines);
  const Finished longer = mixgrad("train --json --steps 4 --resume " + run);
  CHECK_MESSAGE(longer.code == 0, longer.err);
  CHECK(mixgrad("eval --json --checkpoint " + run).code == 0);
}

}  // namespace
}  // namespace mixgrad::test
