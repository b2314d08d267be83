// mixgrad generate: several prompts and samples at once, stop texts, filters, JSON, music and sound as files.
#include <doctest/doctest.h>

#include <cmath>

#include "nn/data/readers/midi_tokens.h"
#include "nn/model/generator.h"
#include "nn/training/checkpoint.h"
#include "tests/support/cli.h"
#include "tests/support/documents_sink.h"

namespace mixgrad::test {
namespace {

const TempFolder& writers_of_text() {
  static const TempFolder folder;
  return folder;
}

std::string text_model(const std::string& options = "", const std::string& name = "run") {
  const std::string path = (writers_of_text() / name).string();
  if (!std::filesystem::exists(path)) {
    REQUIRE(train_tiny(writers_of_text(), name, "--steps 40 " + options).code == 0);
  }
  return path;
}

Finished generated(const std::string& options, const Arguments& more = {}) {
  Arguments line = words("generate --threads 1 " + options);
  line.insert(line.end(), {"--checkpoint", text_model()});
  line.insert(line.end(), more.begin(), more.end());
  return run_program(line);
}

TEST_CASE("cli generate: several prompts and samples, each as it comes alone with its seed") {
  const Arguments prompts{"--prompt", "the cat", "--prompt", "a", "--prompt", "the dog ran to the house while"};
  for (const std::string way : {"", "--batch 1", "--batch 4"}) {
    INFO(way);
    const Finished run = generated("--json --tokens 20 --samples 2 --seed 5 " + way, prompts);
    CHECK(trouble(run) == "");
    const std::vector<Json> rows = json_lines(run.out);
    REQUIRE(rows.size() == 6);
    for (std::size_t n = 0; n < rows.size(); ++n) {
      CHECK(keys_of(rows[n]) == "prompt,sample,seed,text,ids,end");
      CHECK(rows[n]["prompt"] == prompts[n / 2 * 2 + 1]);
      CHECK(rows[n]["sample"] == n % 2 + 1);
      CHECK(rows[n]["seed"] == 5 + n);
      CHECK(rows[n]["end"] == "tokens");
      CHECK(rows[n]["ids"].size() == 20);
      const Finished alone =
          generated("--tokens 20 --seed " + std::to_string(5 + n), {"--prompt", rows[n]["prompt"].get<std::string>()});
      CHECK(alone.out == rows[n]["prompt"].get<std::string>() + rows[n]["text"].get<std::string>() + "\n");
    }
  }
  const Finished shown = generated("--tokens 3 --samples 2 --temperature 0", prompts);
  CHECK(trouble(shown) == "");
  const std::string cat = generated("--tokens 3 --temperature 0", {"--prompt", "the cat"}).out;
  CHECK(
      shown.out.starts_with("--- prompt 1, sample 1\n" + cat + "\n--- prompt 1, sample 2\n" + cat + "\n--- prompt 2"));
  CHECK(json_lines(generated("--json --tokens 2 --temperature 0").out).at(0).count("seed") == 0);
  CHECK(has(generated("--tokens 7").err, "mixgrad: 7 tokens in "));
}

TEST_CASE("cli generate: prompts from several files, and from JSON lines") {
  const TempFolder folder;
  const std::string first = folder.put("first", "the cat").string();
  const std::string lines = folder.put("more.jsonl", "{\"prompt\": \"a\\nmat\", \"id\": 3}\n\n\"the dog\"\n").string();
  const std::vector<Json> rows =
      json_lines(generated("--json --tokens 1", {"--prompt-file", first, "--prompt-file", lines}).out);
  REQUIRE(rows.size() == 3);
  CHECK(rows[0]["prompt"] == "the cat");
  CHECK(rows[1]["prompt"] == "a\nmat");
  CHECK(rows[2]["prompt"] == "the dog");
  const auto refused = [&](const std::string& content, int code, const std::string& text) {
    const Finished run = generated("", {"--prompt-file", folder.put("bad.jsonl", content).string()});
    CHECK(not_refused(run, code) == "");
    CHECK_MESSAGE(has(run.err, text), run.err);
  };
  refused("\"a\"\n{\"text\": \"b\"}\n", 3,
          "bad.jsonl line 2: a text is required, or an object with the text \"prompt\"");
  refused("{\"prompt\": 3}\n", 3, "line 1: a text is required");
  refused("{\"prompt\": \"a\"\n", 3, "bad.jsonl line 1");
  refused("\n", 3, "at least one prompt is required");
  refused("\"\"\n", 2, "at least one character is required; the text is empty");
  CHECK(not_refused(generated("--prompt-file - --prompt-file -"), 2) == "");
}

TEST_CASE("cli generate: a text ends before the first stop text") {
  const std::string whole = generated("--tokens 60 --temperature 0", {"--prompt", "the"}).out.substr(3);
  const std::string stop = whole.substr(17, 5);
  const std::string until = whole.substr(0, whole.find(stop));
  const auto with = [&](const Arguments& stops) {
    Arguments more{"--prompt", "the"};
    more.insert(more.end(), stops.begin(), stops.end());
    return generated("--tokens 60 --temperature 0", more).out;
  };
  CHECK(with({"--stop", stop}) == "the" + until + "\n");
  CHECK(with({"--stop", "Zebra", "--stop", stop}) == "the" + until + "\n");
  CHECK(with({"--stop", "Zebra"}) == "the" + whole);
  // Of two that end at the same character the longer one; what only begins one is printed at the end.
  CHECK(with({"--stop", stop.substr(2), "--stop", stop}).size() <= 3 + until.size() + 1);
  CHECK(with({"--stop", whole.substr(55, 5) + "Zebra"}) == "the" + whole);
  const Json row = json_of(generated("--json --tokens 60 --temperature 0", {"--prompt", "the", "--stop", stop}).out);
  CHECK(row["text"] == until);
  CHECK(row["end"] == "stop");
  CHECK(row["stop"] == stop);
  CHECK(row["ids"].size() == until.size() + 5);
  CHECK(generated("--tokens 60 --temperature 0 --escapes", {"--stop", "\\n"}).out.back() == '\n');
  CHECK(not_refused(generated("", {"--stop", ""}), 2) == "");
}

TEST_CASE("cli generate: log-probabilities are those of the model itself") {
  const Finished run =
      generated("--json --logprobs --tokens 4 --temperature 3 --top-k 5 --repetition-penalty 2", {"--prompt", "the "});
  CHECK(trouble(run) == "");
  const Json row = json_of(run.out);
  CHECK(keys_of(row) == "prompt,sample,seed,text,ids,end,pieces,logprobs");
  const Checkpoint checkpoint = load_checkpoint(text_model(), DType::f32);
  std::vector<std::int32_t> ids = checkpoint.tokenizer->encode("the ");
  std::string pieces;
  for (std::size_t i = 0; i < 4; ++i) {
    const auto length = static_cast<std::int64_t>(ids.size());
    const Tensor logits = checkpoint.model->logits(Tensor::from_i32(ids, {1, length}));
    const std::int64_t vocab = logits.dim(2);
    double total = 0;
    for (std::int64_t v = 0; v < vocab; ++v) total += std::exp(logits.at((length - 1) * vocab + v));
    ids.push_back(row["ids"][i].get<std::int32_t>());
    const double want = logits.at((length - 1) * vocab + ids.back()) - std::log(total);
    CHECK(row["logprobs"][i].get<double>() == doctest::Approx(want).epsilon(1e-4));
    pieces += row["pieces"][i].get<std::string>();
  }
  CHECK(pieces == row["text"].get<std::string>());
  CHECK(has(generated("--logprobs").err, "--logprobs cannot be given here: only --json prints them"));
}

TEST_CASE("cli generate: min-p and the repetition penalty") {
  const std::string greedy = generated("--tokens 40 --temperature 0").out;
  CHECK(generated("--tokens 40 --min-p 1 --temperature 1.5").out == greedy);
  CHECK(generated("--tokens 40 --min-p 0.5 --temperature 1.5").out != greedy);
  // The same tokens as the library's, whose penalty has an oracle of its own.
  const Checkpoint checkpoint = load_checkpoint(text_model(), DType::f32);
  Generator generator(*checkpoint.model, checkpoint.tokenizer->vocab_size(),
                      {.temperature = 0, .repetition_penalty = 1.5}, 1);
  generator.prompt(checkpoint.tokenizer->encode("the"));
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 40; ++i) ids.push_back(generator.next());
  const Finished penalized = generated("--tokens 40 --temperature 0 --repetition-penalty 1.5", {"--prompt", "the"});
  CHECK(penalized.out == "the" + checkpoint.tokenizer->decode(ids) + "\n");
  CHECK(penalized.out != generated("--tokens 40 --temperature 0", {"--prompt", "the"}).out);
  CHECK(not_refused(generated("--min-p 1.1"), 2) == "");
  CHECK(not_refused(generated("--repetition-penalty 0"), 2) == "");
  CHECK(has(generated("--temperature 0 --min-p 0.1").err, "--min-p cannot be given here: --temperature 0"));
}

// A run on files of ids.
std::string model_of_ids(const TempFolder& folder, const std::string& name, const std::string& file,
                         const std::string& content, const std::string& options = "") {
  const Finished run = mixgrad("train --json" + kTiny + "--steps 3 " + options,
                               {"--data", folder.put(file, content).string(), "--out", (folder / name).string()});
  INFO(run.err);
  REQUIRE(run.code == 0);
  return (folder / name).string();
}

Finished to_file(const std::string& checkpoint, const std::filesystem::path& out, const std::string& options,
                 const Arguments& more = {}) {
  Arguments line = words("generate --threads 1 " + options);
  line.insert(line.end(), {"--checkpoint", checkpoint, "--out", out.string()});
  line.insert(line.end(), more.begin(), more.end());
  return run_program(line);
}

TEST_CASE("cli generate: music of a model of MIDI as a file that is read again") {
  const TempFolder folder;
  std::vector<std::uint16_t> tokens;
  for (int i = 0; i < 400; ++i) tokens.push_back(static_cast<std::uint16_t>(i * 7 % 389));
  const std::string model = model_of_ids(folder, "run", "notes.u16", little_bytes(tokens), "--vocab 389");
  const Finished run = to_file(model, folder / "song.mid", "--tokens 200 --json --seed 3");
  CHECK(trouble(run) == "");
  const Json row = json_of(run.out);
  CHECK(row["prompt"] == "388 ");
  CHECK(row["out"] == (folder / "song.mid").string());
  const std::vector<std::int32_t> ids = row["ids"].get<std::vector<std::int32_t>>();
  CHECK(read_with("midi", TempFolder::get(folder / "song.mid")).id_lists.at(0) == midi_tokens(midi_notes(ids)));

  const Finished several = to_file(model, folder / "many.mid", "--tokens 200 --samples 3 --seed 3");
  CHECK(several.code == 0);
  CHECK(several.out == "");
  CHECK(has(several.err, "mixgrad: wrote " + (folder / "many-1.mid").string() + "\n"));
  CHECK(TempFolder::get(folder / "many-1.mid") == TempFolder::get(folder / "song.mid"));
  CHECK(std::filesystem::exists(folder / "many-3.mid"));
  CHECK(!std::filesystem::exists(folder / "many.mid"));

  const Json stopped =
      json_of(run_program({"generate", "--threads", "1", "--checkpoint", model, "--json", "--tokens", "200", "--seed",
                           "3", "--prompt", "388", "--stop", std::to_string(ids[20]) + " " + std::to_string(ids[21])})
                  .out);
  CHECK(stopped["end"] == "stop");
  CHECK(stopped["ids"].size() <= 22);
  CHECK(!has(" " + stopped["text"].get<std::string>(),
             " " + std::to_string(ids[20]) + " " + std::to_string(ids[21]) + " "));

  const auto refused = [&](const std::string& name, const std::string& options, int code, const std::string& text) {
    const Finished wrong = to_file(model, folder / name, options);
    CHECK(not_refused(wrong, code) == "");
    CHECK_MESSAGE(has(wrong.err, text), wrong.err);
    CHECK(!std::filesystem::exists(folder / name));
  };
  refused("a.wav", "", 2, "a.wav: WAV sound needs a model of up to 256 token ids");
  refused("a.abc", "", 2, "a.abc: ABC notation needs a model of text");
  refused("a.mp3", "", 2, "the file's extension must be one of .mid, .midi, .abc, .wav, .wave");
  refused("a.mid", "--tokens 0", 2, "a.mid: at least one note is required");
  refused("none/a.mid", "", 4, "none");
  refused("b.mid", "--rate 8000", 2, "--rate cannot be given here: it belongs to --out FILE.wav");
}

TEST_CASE("cli generate: sound at the rate of the files that the run was trained on") {
  const TempFolder folder;
  std::string samples;
  for (int i = 0; i < 2000; ++i) samples += static_cast<char>(i * 31 % 256);
  const auto number = [](std::uint32_t value) { return little_bytes<std::uint32_t>({value}); };
  const std::string wav = "RIFF" + number(36 + 2000) + "WAVEfmt " + number(16) + little_bytes<std::uint16_t>({1, 1}) +
                          number(11025) + number(11025) + little_bytes<std::uint16_t>({1, 8}) + "data" + number(2000) +
                          samples;
  const std::string model = model_of_ids(folder, "run", "a.wav", wav);
  const Finished run = to_file(model, folder / "b.wav", "--tokens 100 --json");
  CHECK(trouble(run) == "");
  std::vector<std::int32_t> ids{128};
  const Json row = json_of(run.out);
  for (const Json& id : row["ids"]) ids.push_back(id.get<std::int32_t>());
  const CollectedDocuments again = read_with("wav", TempFolder::get(folder / "b.wav"));
  CHECK(again.id_lists.at(0) == ids);
  CHECK(again.sound_rate == 11025);
  CHECK(to_file(model, folder / "c.wav", "--tokens 100 --rate 16000").code == 0);
  CHECK(read_with("wav", TempFolder::get(folder / "c.wav")).sound_rate == 16000);
  std::filesystem::remove(folder / "a.wav");
  CHECK(to_file(model, folder / "d.wav", "--tokens 100").code == 0);
  CHECK(read_with("wav", TempFolder::get(folder / "d.wav")).sound_rate == 8000);
}

TEST_CASE("cli generate: tunes of a model of text") {
  const TempFolder folder;
  std::string tunes;
  for (int i = 0; i < 60; ++i) tunes += "X:" + std::to_string(i) + "\nK:G\nGABc dedB|\n\n";
  const std::string model = model_of_ids(folder, "run", "tunes.abc", tunes);
  CHECK(to_file(model, folder / "a.abc", "--tokens 50").code == 0);
  const std::string file = TempFolder::get(folder / "a.abc");
  CHECK(file.starts_with("X:"));
  CHECK(file.back() == '\n');
  CHECK(read_with("abc", file).texts.size() >= 1);
  const Finished none = to_file(model, folder / "b.abc", "--tokens 3", {"--prompt", "GAB"});
  CHECK(not_refused(none, 2) == "");
  CHECK(has(none.err, "a tune begins with a line \"X:\""));
}

}  // namespace
}  // namespace mixgrad::test
