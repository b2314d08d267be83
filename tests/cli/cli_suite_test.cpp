// mixgrad eval --suite: the scores of small files, computed again in plain loops; bad files; the real files.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "nn/training/checkpoint.h"
#include "tests/support/cli.h"
#include "tests/support/outside_data.h"

namespace mixgrad::test {
namespace {

const TempFolder& suites_folder() {
  static const TempFolder folder;
  return folder;
}

// Both read any text; one has a context of 8 bytes, shorter than most questions.
std::string suite_model(const std::string& name) {
  const std::string path = (suites_folder() / name).string();
  if (!std::filesystem::exists(path)) {
    const std::string options = name == "short" ? "" : "--context 256 --batch 1";
    REQUIRE(train_tiny(suites_folder(), name, "--steps 300 --tokenizer byte " + options).code == 0);
  }
  return path;
}

Finished suite(const std::string& name, const std::string& file, const std::string& options = "--json",
               const std::string& model = "long") {
  Arguments line = words("eval --threads 2 " + options);
  line.insert(line.end(), {"--checkpoint", suite_model(model), "--suite", name, "--data", file});
  return run_program(line);
}

struct ByHand {
  double log_probability = 0;
  bool likeliest = true;
};

// Of the bytes [first, end) of the text, each by a softmax in plain loops over the logits of all before it alone.
ByHand score_by_hand(const std::string& model, const std::string& text, std::size_t first) {
  const Checkpoint checkpoint = load_checkpoint(suite_model(model), DType::f32);
  const std::vector<std::int32_t> ids = checkpoint.tokenizer->encode(text);
  ByHand result;
  for (std::size_t at = first; at < ids.size(); ++at) {
    const auto length = static_cast<std::int64_t>(at);
    const std::int64_t window = ids.size() - 1 > 8 && model == "short" ? 8 : 0;
    const Tensor logits = checkpoint.model->logits(Tensor::from_i32(std::span(ids).first(at), {1, length}), window);
    const std::int64_t vocab = logits.dim(2);
    double total = 0;
    std::int32_t best = 0;
    for (std::int32_t v = 0; v < vocab; ++v) {
      total += std::exp(logits.at((length - 1) * vocab + v));
      if (logits.at((length - 1) * vocab + v) > logits.at((length - 1) * vocab + best)) best = v;
    }
    result.log_probability += logits.at((length - 1) * vocab + ids[at]) - std::log(total);
    result.likeliest = result.likeliest && best == ids[at];
  }
  return result;
}

TEST_CASE("cli suite: blimp is log P(good) > log P(bad) behind a line end, by paradigm") {
  const std::vector<std::array<std::string, 3>> pairs{{"order", "the cat sat", "tac eht tas"},
                                                      {"order", "zzzz q", "the dog ran"},
                                                      {"spelling", "the house fell", "the houze fell"},
                                                      {"order", "rain fell", "fell raqn"},
                                                      {"same", "a mat", "a mat"}};
  std::string file = "uid\tfield\tgood\tbad\n";
  for (const auto& [uid, good, bad] : pairs) file += joined({uid, "\tx\t", good, "\t", bad, "\r\n"});
  const std::string path = suites_folder().put("pairs.tsv", file).string();
  for (const std::string model : {"long", "short"}) {
    INFO(model);
    std::map<std::string, std::pair<int, int>> right;  // of how many
    for (const auto& [uid, good, bad] : pairs) {
      const bool is =
          score_by_hand(model, "\n" + good, 1).log_probability > score_by_hand(model, "\n" + bad, 1).log_probability;
      for (const std::string& name : {uid, std::string("all")}) {
        right[name].first += is ? 1 : 0;
        ++right[name].second;
      }
    }
    const Finished run = suite("blimp", path, "--json", model);
    CHECK(trouble(run) == "");
    const std::vector<Json> rows = json_lines(run.out);
    REQUIRE(rows.size() == 4);
    const Arguments order{"order", "spelling", "same", "all"};
    for (std::size_t i = 0; i < 4; ++i) {
      CHECK(keys_of(rows[i]) == "paradigm,accuracy,low,high,pairs");
      CHECK(rows[i]["paradigm"] == order[i]);
      CHECK(rows[i]["pairs"] == right[order[i]].second);
      CHECK(rows[i]["accuracy"].get<double>() == doctest::Approx(1.0 * right[order[i]].first / right[order[i]].second));
    }
    CHECK(rows[2]["accuracy"] == 0);  // equal is not more
    CHECK(right["all"].first >= 2);
  }
}

TEST_CASE("cli suite: lambada is the last word, right when every token of it is the likeliest") {
  std::vector<std::string> passages{"the cat sat on a mat and the dog", "rain fell while the zebra", "the the",
                                    "two\nlines and \"quotes\" ran"};
  // One whose last word greedy decoding gives: a blank and a letter, behind the beginning of the text.
  const std::string text = small_text().substr(0, 120);
  for (std::size_t blank = text.find(' '); passages.size() == 4 && blank != std::string::npos;
       blank = text.find(' ', blank + 1)) {
    for (const char letter : std::string("tcsaodrhwfm")) {
      const std::string passage = text.substr(0, blank + 1) + letter;
      if (passages.size() == 4 && score_by_hand("long", passage, blank).likeliest) passages.push_back(passage);
    }
  }
  REQUIRE(passages.size() == 5);
  std::string file;
  double sum = 0;
  int right = 0;
  for (const std::string& passage : passages) {
    file += Json{{"text", passage}}.dump() + "\n\n";
    const ByHand score = score_by_hand("long", passage, passage.rfind(' '));
    sum -= score.log_probability;
    right += score.likeliest ? 1 : 0;
  }
  CHECK(right >= 1);
  const std::string path = suites_folder().put("passages.jsonl", file).string();
  for (const std::string options : {"--json", "--json --batch 1", "--json --batch 2"}) {
    const Finished run = suite("lambada", path, options);
    CHECK(trouble(run) == "");
    const Json row = json_of(run.out);
    CHECK(keys_of(row) == "accuracy,low,high,perplexity,loss,passages");
    CHECK(row["passages"] == 5);
    CHECK(row["accuracy"].get<double>() == doctest::Approx(right / 5.0));
    CHECK(row["loss"].get<double>() == doctest::Approx(sum / 5).epsilon(1e-4));
    CHECK(row["perplexity"].get<double>() == doctest::Approx(std::exp(sum / 5)).epsilon(1e-3));
  }
}

TEST_CASE("cli suite: prompts are continued as generate continues them") {
  const std::string lines = suites_folder().put("prompts.jsonl", "\"the cat\"\n{\"prompt\": \"a\"}\n").string();
  const std::vector<Json> rows =
      json_lines(suite("prompts", lines, "--json --tokens 9 --seed 4 --temperature 0.5").out);
  REQUIRE(rows.size() == 2);
  CHECK(rows[0]["prompt"] == "the cat");
  for (std::size_t i = 0; i < 2; ++i) {
    const std::string prompt = rows[i]["prompt"].get<std::string>();
    const Json alone =
        json_of(mixgrad("generate --json --tokens 9 --temperature 0.5 --threads 1 --seed " + std::to_string(4 + i),
                        {"--checkpoint", suite_model("long"), "--prompt", prompt})
                    .out);
    CHECK(rows[i]["text"] == alone["text"]);
  }
  if (!has(mixgrad("version").out, "YAML by libyaml")) {
    MESSAGE("skipped: the program was built without libyaml");
    return;
  }
  const std::string yaml =
      suites_folder().put("prompts.yaml", "---\n- |-\n  the cat\n\n  sat\n- \"a\\tb\"\n- plain\n").string();
  const std::vector<Json> texts = json_lines(suite("prompts", yaml, "--json --tokens 1").out);
  REQUIRE(texts.size() == 3);
  CHECK(texts[0]["prompt"] == "the cat\n\nsat");
  CHECK(texts[1]["prompt"] == "a\tb");
  CHECK(texts[2]["prompt"] == "plain");
}

TEST_CASE("cli suite: bad files and options end with one clear line") {
  const auto refused = [](const std::string& name, const std::string& file, const std::string& content, int code,
                          const std::string& text, const std::string& options = "") {
    INFO(name << " " << content);
    const Finished run = suite(name, suites_folder().put(file, content).string(), options);
    CHECK(not_refused(run, code) == "");
    CHECK_MESSAGE(has(run.err, text), run.err);
    CHECK(run.out == "");
  };
  refused("lambada", "a.jsonl", "{\"text\": \"one two\"}\n{\"txt\": 1}\n", 3,
          "a.jsonl line 2: an object with the text \"text\"");
  refused("lambada", "a.jsonl", "{\"text\": \"one two\"\n", 3, "a.jsonl line 1");
  refused("lambada", "a.jsonl", "{\"text\": \"one\"}\n", 3, "line 1: a passage with a last word behind a blank");
  refused("lambada", "a.jsonl", "{\"text\": \"one \"}\n", 3, "a last word behind a blank");
  refused("lambada", "a.jsonl", "", 3, "at least one passage is required");
  refused("blimp", "a.tsv", "", 3, "a line of names and at least one pair are required; the file has 0 lines");
  refused("blimp", "a.tsv", "uid\tgood\tbad\n", 3, "the file has 1 line");
  refused("blimp", "a.tsv", "uid\tgood\nx\ty\n", 3, "there is no \"bad\"; the line has uid, good");
  refused("blimp", "a.tsv", "uid\tgood\tbad\nx\ty\n", 3, "a.tsv line 2: as many cells as the first line has names, 3");
  refused("blimp", "a.tsv", "uid\tgood\tbad\nx\ty\t\n", 3, "a.tsv line 2: at least one token is required");
  refused("prompts", "a.txt", "the cat", 3, "a file of prompts is YAML (.yaml) or JSON lines (.jsonl)");
  refused("prompts", "a.jsonl", "3\n", 3, "a.jsonl line 1: a text is required");
  if (has(mixgrad("version").out, "YAML by libyaml")) {
    refused("prompts", "a.yaml", "- a\n- b: c\n", 3,
            "a.yaml line 2: a list of texts is required; this is something else");
    refused("prompts", "a.yaml", "a: b\n", 3, "a list of texts is required");
    refused("prompts", "a.yaml", "text\n", 3, "this is a text outside a list");
    refused("prompts", "a.yaml", "- \"a\n", 3, "a.yaml line 2: a list of texts in YAML is required");
    refused("prompts", "a.yaml", "", 3, "at least one prompt is required");
  }
  refused("lambda", "a.jsonl", "", 2, "--suite must be one of lambada, blimp, prompts; got \"lambda\"");
  refused("lambada", "a.jsonl", "", 2, "--tokens cannot be given here: it belongs to --suite prompts", "--tokens 3");
  refused("lambada", "a.jsonl", "", 2, "--split cannot be given here: --suite", "--split all");
  refused("lambada", "a.jsonl", "", 2, "--context cannot be given here: the questions of --suite", "--context 3");
  refused("lambada", "a.jsonl", "", 2, "--field cannot be given here: --suite reads its own kind of file", "--field x");
  refused("lambada", "a.jsonl", "", 2, "--unknown cannot be given here: the tokenizer", "--unknown skip");
  CHECK(has(run_program({"eval", "--checkpoint", suite_model("long"), "--suite", "blimp"}).err,
            "needs its file: --data FILE"));
  CHECK(not_refused(suite("blimp", (suites_folder() / "none").string()), 4) == "");
  // A vocabulary that lacks characters.
  REQUIRE(train_tiny(suites_folder(), "char", "--steps 2").code == 0);
  const std::string file = suites_folder().put("zebra.tsv", "uid\tgood\tbad\nx\tthe cat\tthe Zat\n").string();
  Arguments line{"eval",    "--json", "--checkpoint", (suites_folder() / "char").string(),
                 "--suite", "blimp",  "--data",       file};
  const Finished lacks = run_program(line);
  CHECK(not_refused(lacks, 3) == "");
  CHECK(has(lacks.err, "zebra.tsv line 2: every character must be one of the"));
  CHECK(has(lacks.err, "or give --unknown skip"));
  line.insert(line.end(), {"--unknown", "skip"});
  CHECK(json_lines(run_program(line).out).size() == 2);
}

TEST_CASE("cli suite: the files of LAMBADA, BLiMP and TinyStories are read") {
  const auto blimp = outside_data("eval/blimp_100_per_paradigm.tsv");
  const auto tiny_stories = outside_data("eval/tinystories_prompts.yaml");
  if (!blimp || !tiny_stories) return;
  const std::vector<Json> rows = json_lines(suite("blimp", blimp->string(), "--json", "short").out);
  REQUIRE(rows.size() == 68);
  for (std::size_t i = 0; i < 67; ++i) CHECK(rows[i]["pairs"] == 100);
  CHECK(rows[67]["pairs"] == 6700);
  CHECK(json_lines(suite("prompts", tiny_stories->string(), "--json --tokens 2").out).size() == 44);
}

}  // namespace
}  // namespace mixgrad::test
