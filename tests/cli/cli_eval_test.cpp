// mixgrad eval: windows, tokens one by one, several checkpoints and texts in one table, formats.
#include <doctest/doctest.h>

#include <cmath>
#include <map>

#include "nn/training/checkpoint.h"
#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

const TempFolder& evaluated() {
  static const TempFolder folder;
  return folder;
}

std::string eval_run(const std::string& name = "rope") {
  const std::string path = (evaluated() / name).string();
  if (!std::filesystem::exists(path)) {
    const std::string options = name == "learned" ? "--positions learned" : name == "second" ? "--seed 2" : "";
    REQUIRE(train_tiny(evaluated(), name, "--steps 30 " + options).code == 0);
  }
  return path;
}

Finished eval_of(const std::string& options, const std::string& run = "rope", const Arguments& more = {}) {
  Arguments line = words("eval --threads 1 " + options);
  line.insert(line.end(), {"--checkpoint", eval_run(run)});
  line.insert(line.end(), more.begin(), more.end());
  return run_program(line);
}

Arguments own_text() {
  eval_run();
  return {"--data", (evaluated() / "text.txt").string()};
}

// The loss of token `at` of the text, read from `begin`, in plain loops.
double loss_in_window(const Decoder& model, const std::vector<std::int32_t>& ids, std::int64_t begin, std::int64_t at,
                      std::int64_t window) {
  const std::int64_t length = at - begin;
  const std::vector<std::int32_t> part(ids.begin() + begin, ids.begin() + at);
  const Tensor logits = model.logits(Tensor::from_i32(part, {1, length}), window);
  const std::int64_t vocab = logits.dim(2);
  double total = 0;
  for (std::int64_t v = 0; v < vocab; ++v) total += std::exp(logits.at((length - 1) * vocab + v));
  return std::log(total) - logits.at((length - 1) * vocab + ids[static_cast<std::size_t>(at)]);
}

TEST_CASE("cli eval: the loss of each token, by position, with a stride and beyond the context of the training") {
  const Checkpoint checkpoint = load_checkpoint(eval_run(), DType::f32);
  const std::vector<std::int32_t> ids = checkpoint.tokenizer->encode(small_text());
  const auto size = static_cast<std::int64_t>(ids.size());
  const std::int64_t first = size / 10 * 9 + size % 10 * 9 / 10;
  struct Way {
    std::string options;
    std::int64_t context, stride;
  };
  for (const Way& way : {Way{"", 8, 8},
                         {"--stride 3", 8, 3},
                         {"--context 5 --stride 1", 5, 1},
                         {"--context 20", 20, 20},
                         {"--context 30 --stride 10", 30, 10}}) {
    INFO(way.options);
    const Finished run = eval_of("--per-token " + way.options, "rope", own_text());
    CHECK(run.code == 0);
    const std::vector<Json> rows = json_lines(run.out);
    REQUIRE(rows.size() == static_cast<std::size_t>(size - first));
    double sum = 0;
    std::map<std::int64_t, std::pair<double, int>> positions;
    std::string text;
    for (std::int64_t i = 0; i < size - first; ++i) {
      const Json& row = rows[static_cast<std::size_t>(i)];
      CHECK(keys_of(row) == "index,token,text,loss");
      CHECK(row["index"] == first + i);
      const std::int64_t window = i < way.context ? 0 : (i - way.context) / way.stride + 1;
      const std::int64_t begin = first + window * way.stride - 1;
      const double want = loss_in_window(*checkpoint.model, ids, begin, first + i, way.context > 8 ? way.context : 0);
      CHECK(row["loss"].get<double>() == doctest::Approx(want).epsilon(1e-4));
      sum += row["loss"].get<double>();
      positions[first + i - begin].first += row["loss"].get<double>();
      ++positions[first + i - begin].second;
      text += row["text"].get<std::string>();
    }
    CHECK(text == small_text().substr(static_cast<std::size_t>(first)));
    const Json whole = json_of(eval_of("--json " + way.options, "rope", own_text()).out);
    CHECK(whole["loss"].get<double>() == doctest::Approx(sum / static_cast<double>(rows.size())).epsilon(1e-5));
    const std::vector<Json> by = json_lines(eval_of("--by-position --json " + way.options, "rope", own_text()).out);
    REQUIRE(by.size() == positions.size());
    std::size_t at = 0;
    for (const auto& [position, mean] : positions) {
      CHECK(by[at]["position"] == position);
      CHECK(by[at]["tokens"] == mean.second);
      CHECK(by[at++]["loss"].get<double>() == doctest::Approx(mean.first / mean.second).epsilon(1e-6));
    }
  }
  const Arguments table = lines_of(eval_of("--by-position", "rope", own_text()).out);
  REQUIRE(table.size() == 5);
  for (std::size_t i = 0; i < 4; ++i) CHECK(words(table[i + 1]).at(0) == Arguments{"1", "2", "3-4", "5-8"}[i]);
}

TEST_CASE("cli eval: what the windows cannot be is refused") {
  const auto refused = [](const std::string& options, const std::string& text, const std::string& run = "rope") {
    const Finished wrong = eval_of(options, run, own_text());
    CHECK(not_refused(wrong, 2) == "");
    CHECK_MESSAGE(has(wrong.err, text), wrong.err);
  };
  refused("--context 9", "a model with learned positions has none beyond its context of 8 tokens; got 9", "learned");
  refused("--stride 9", "the stride must be from 1 to the context, 8; got 9");
  refused("--context 4 --stride 5", "the stride must be from 1 to the context, 4; got 5");
  refused("--by-position --per-token", "--per-token cannot be given here: --by-position prints positions");
  refused("--per-token --format csv", "--per-token cannot be given here: it prints JSON lines");
  refused("--format csv --json", "--format cannot be given here: --json gives the format");
  refused("--format xml", "--format must be one of table, markdown, csv, json");
  CHECK(has(eval_of("--per-token", "rope", {"--data", "a", "b"}).err, "--per-token takes one checkpoint and one text"));
  CHECK(eval_of("--context 8", "learned", own_text()).code == 0);
}

TEST_CASE("cli eval: several checkpoints and several texts, in every format") {
  const TempFolder folder;
  const std::string other = folder.put("other, a \"text\".txt", "the rain fell on the house and the mat").string();
  Arguments more = own_text();
  more.insert(more.end(), {other, "--checkpoint", eval_run("second")});
  const std::vector<Json> rows = json_lines(eval_of("--json --split all", "rope", more).out);
  REQUIRE(rows.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(keys_of(rows[i]) == "checkpoint,loss,low,high,perplexity,bits_per_byte,targets,split,data");
    const std::string run = i < 2 ? "rope" : "second";
    CHECK(rows[i]["checkpoint"] == eval_run(run));
    const Json alone = json_of(eval_of("--json --split all", run, {"--data", i % 2 == 0 ? own_text()[1] : other}).out);
    for (const std::string key : {"loss", "low", "high", "perplexity", "bits_per_byte", "targets", "split", "data"}) {
      CHECK(rows[i][key] == alone[key]);
    }
  }
  CHECK(rows[1]["low"].is_null());  // one batch
  const auto printed = [&](const std::string& format) {
    return eval_of("--split all --format " + format, "rope", more).out;
  };
  CHECK(json_lines(printed("json")) == rows);
  CHECK(lines_of(printed("table")).size() == 5);
  const Arguments csv = lines_of(printed("csv"));
  REQUIRE(csv.size() == 5);
  CHECK(csv[0] == "checkpoint,loss,low,high,perplexity,bits_per_byte,targets,split,data");
  CHECK(csv[1].starts_with(eval_run() + "," + rows[0]["loss"].dump() + ","));
  CHECK(csv[2].ends_with(",,," + rows[1]["perplexity"].dump() + "," + rows[1]["bits_per_byte"].dump() + ",37,all,\"" +
                         folder.path().string() + "/other, a \"\"text\"\".txt\""));
  const Arguments markdown = lines_of(printed("markdown"));
  REQUIRE(markdown.size() == 6);
  CHECK(markdown[0] == "| checkpoint | loss | low | high | perplexity | bits per byte | tokens | text |");
  CHECK(markdown[1] == "|---|---:|---:|---:|---:|---:|---:|---|");
  CHECK(markdown[3].starts_with("| " + eval_run() + " | "));
  CHECK(lines_of(eval_of("--format csv", "rope", own_text()).out).size() == 2);
  // A text that is not there does not prevent the others.
  more.insert(more.begin() + 1, (folder / "none").string());
  const Finished missing = eval_of("--json --split all", "rope", more);
  CHECK(missing.code == 4);
  CHECK(json_lines(missing.out) == rows);
}

}  // namespace
}  // namespace mixgrad::test
