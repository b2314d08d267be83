// A run remembers its text: eval and train --checkpoint without --data, paths that are not UTF-8, a text that is gone,
// changed or no file.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include "core/error.h"
#include "nn/files/strict_json.h"
#include "nn/training/checkpoint.h"
#include "tests/support/reliability.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

// A run on `text`, which lies in the folder.
std::string trained_on(const TempFolder& folder, const std::string& name, const fs::path& text,
                       const std::string& options = "--steps 6 --stop-after 3") {
  const Finished run = train_tiny(folder, name, options, {"--data", text.string()});
  INFO(run.err);
  REQUIRE(run.code == 0);
  return (folder / name).string();
}

std::string other_text() { return "dogs ran\n" + small_text(); }

}  // namespace

TEST_CASE("cli run text: eval and train --checkpoint without --data take the run's own, and say so") {
  const TempFolder folder;
  const fs::path text = folder.put("own.txt", other_text());
  for (const std::string tokenizer : {"char", "byte"}) {
    const std::string run = trained_on(folder, tokenizer, text, "--steps 3 --tokenizer " + tokenizer);
    for (const std::string& checkpoint : {run, run + "/", run + "/latest", run + "/step-3"}) {
      const Finished own = mixgrad("eval --json --threads 1", {"--checkpoint", checkpoint});
      const Finished given = mixgrad("eval --json --threads 1", {"--checkpoint", checkpoint, "--data", text.string()});
      INFO(own.err);
      CHECK(own.code == 0);
      CHECK(own.err == "mixgrad: the text is the one that " + checkpoint + " was trained on, " + text.string() + "\n");
      CHECK(own.out == given.out);
      CHECK(json_of(own.out)["data"] == text.string());
      CHECK(trouble(given) == "");
    }
    const Finished tuned = mixgrad("train --json" + kTiny + "--steps 2 --context 8",
                                   {"--checkpoint", run, "--out", (folder / (tokenizer + "2")).string()});
    CHECK(not_refused(tuned, 2) == "");  // --layers and the like belong to the checkpoint
    const Finished tuning = mixgrad("train --json --batch 2 --threads 1 --warmup 0 --steps 2",
                                    {"--checkpoint", run, "--out", (folder / (tokenizer + "2")).string()});
    INFO(tuning.err);
    CHECK(tuning.code == 0);
    CHECK(has(tuning.err, "mixgrad: the text is the one that " + run + " was trained on, " + text.string() + "\n"));
    const TrainerState state = load_trainer_state(find_generation(folder / (tokenizer + "2")));
    CHECK(state.options.at("data") == text.string());
    CHECK(mixgrad("eval --threads 1", {"--checkpoint", (folder / (tokenizer + "2")).string()}).code == 0);
  }
}

TEST_CASE("cli run text: a run on the shipped text finds it again") {
  const TempFolder folder;
  const std::string run = (folder / "run").string();
  REQUIRE(mixgrad("train --json --steps 1" + kTiny, {"--out", run}).code == 0);
  CHECK(load_trainer_state(find_generation(run)).options.at("data") == "");
  const Finished eval = mixgrad("eval --json --split valid", {"--checkpoint", run});
  INFO(eval.err);
  CHECK(eval.code == 0);
  CHECK(has(json_of(eval.out)["data"].get<std::string>(), "tinyshakespeare.txt"));
}

TEST_CASE("cli run text: one that is gone, changed or no file is refused by its name, with --data") {
  const TempFolder folder;
  const fs::path text = folder / "own.txt";
  const auto refused = [&](const std::string& run, int code, const std::string& why) {
    for (const std::string line :
         {"eval --checkpoint ", "train --out X --steps 2 --batch 2 --checkpoint ", "train --resume "}) {
      Arguments all = words(line + run);
      for (std::string& word : all) word = word == "X" ? (folder / "new").string() : word;
      const Finished finished = run_program(all);
      INFO(line << finished.err);
      CHECK(not_refused(finished, code) == "");
      CHECK(has(finished.err, text.string()));
      CHECK(has(finished.err, "with --data"));
      CHECK(has(finished.err, why));
      CHECK_FALSE(holds_run(folder / "new"));
    }
  };
  folder.put("own.txt", small_text());
  const std::string run = trained_on(folder, "run", text);
  const std::string meaning = std::to_string(small_text().size()) + " bytes with the XXH3 ";
  fs::rename(text, folder / "moved.txt");
  refused(run, 4, run + " was trained on " + text.string() + " (" + meaning);
  refused(run, 4, "which is not there any more; give that text with --data FILE");
  fs::create_directory(text);
  refused(run, 4, "which is not a regular file; give");
  fs::remove(text);
  REQUIRE(::mkfifo(text.c_str(), 0600) == 0);
  refused(run, 4, "which is not a regular file; give");
  fs::remove(text);
  for (const std::string& content : {small_text() + "the cat\n", small_text() + "ZEBRA\n", std::string("the\xff"),
                                     std::string(), small_text().substr(0, 900)}) {
    folder.put("own.txt", content);
    refused(run, 3, meaning);
  }
  fs::remove(text);  // wherever it is now
  const Finished resumed = mixgrad("train --json --resume " + run, {"--data", (folder / "moved.txt").string()});
  INFO(resumed.err);
  CHECK(resumed.code == 0);
  CHECK(mixgrad("eval", {"--checkpoint", run}).code == 0);  // it is the run's own path from then on
}

TEST_CASE("cli run text: a checkpoint without trainer.json names no text") {
  const TempFolder folder;
  const std::string run = trained_on(folder, "run", folder.put("own.txt", small_text()));
  fs::copy(fs::canonical(folder / "run/latest"), folder / "exported");
  fs::remove(folder / "exported/trainer.json");
  const std::string exported = (folder / "exported").string();
  for (const std::string verb : {"eval", "train"}) {
    Arguments line{verb, "--checkpoint", exported};
    if (verb == "train") line.insert(line.end(), {"--out", (folder / "new").string(), "--steps", "2"});
    const Finished finished = run_program(line);
    CHECK(not_refused(finished, 2) == "");
    CHECK(has(finished.err, joined({verb, ": --data FILE is required: ", exported, " holds a model alone"})));
  }
}

TEST_CASE("cli run text: a path of any bytes is kept: resumed, evaluated, tuned, and named in JSON") {
  const TempFolder folder;
  for (const std::string& name :
       {std::string("caf\xe9.txt"), std::string("\xff\xfe\x01"), std::string("a b%20\"\\\n.txt"),
        std::string("山é.txt"), std::string("bytes:x%41"), std::string("half\xe4\xba")}) {
    const fs::path text = folder / name;
    std::ofstream(text, std::ios::binary) << small_text();
    const std::string out = "run" + std::to_string(fs::hash_value(text));
    const std::string run = trained_on(folder, out, text);
    CHECK(load_trainer_state(find_generation(run)).options.at("data") == text.string());
    CHECK(mixgrad("train --json --resume " + run).code == 0);
    const Finished eval = mixgrad("eval --json", {"--checkpoint", run});
    INFO(eval.err);
    CHECK(eval.code == 0);
    CHECK(bytes_of_json_text(json_of(eval.out)["data"].get<std::string>()) == text.string());
    fs::remove(text);
  }
}

TEST_CASE("json text: bytes that are UTF-8 are themselves, all others come back from percent-encoding") {
  CHECK(json_text("/home/山/a b%20.txt") == "/home/山/a b%20.txt");
  CHECK(json_text("/home/caf\xe9 1.txt") == "bytes:/home/caf%E9%201.txt");
  CHECK(json_text("bytes:x") == "bytes:bytes:x");
  CHECK(json_text("") == "");
  std::string every;
  for (int byte = 0; byte < 256; ++byte) every += static_cast<char>(byte);
  for (const std::string& bytes : {every, std::string("bytes:"), std::string("bytes:%41"), std::string("%\xff%%4")}) {
    CHECK(bytes_of_json_text(json_text(bytes)) == bytes);
  }
}

}  // namespace mixgrad::test
