// mixgrad analyze heads: what it prints, for people and for programs, and what it refuses.
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>

#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

const TempFolder& analyze_folder() {
  static const TempFolder folder;
  return folder;
}

std::string analysed_run(const std::string& name, const std::string& options) {
  if (!std::filesystem::exists(analyze_folder() / name)) {
    REQUIRE(train_tiny(analyze_folder(), name, "--steps 3 " + options).code == 0);
  }
  return (analyze_folder() / name).string();
}

Finished analyze(const std::string& run, const std::string& options = "") {
  return mixgrad("analyze heads --threads 1 " + options, {"--checkpoint", run});
}

TEST_CASE("cli: analyze heads prints heads, groups, the agreement of the rankings and a map") {
  const std::string run =
      analysed_run("two", "--layers 2 --heads 4 --mixer attention,recurformer(groups=1,kv_heads=2)");
  const Finished shown = analyze(run, "--sequences 20 --window 2");
  CHECK(shown.code == 0);
  INFO(shown.out);
  CHECK(has(shown.err, "the text is the one that"));
  CHECK(shown.out.starts_with("20 sequences of 8 tokens, split valid of "));
  CHECK(has(shown.out, "the k = 2 before it, mean over n = 8 positions"));
  CHECK(has(shown.out, "groups by recency"));
  CHECK(has(shown.out, "rank correlation (Spearman) of the two rankings: "));
  CHECK(has(shown.out, "\nlayer 0   |"));
  CHECK(has(shown.out, "\nlayer 1   |"));
}

TEST_CASE("cli: analyze heads in JSON: a line for each head and group, and one for all") {
  const std::string run =
      analysed_run("two", "--layers 2 --heads 4 --mixer attention,recurformer(groups=1,kv_heads=2)");
  const std::vector<Json> rows = json_lines(analyze(run, "--sequences 20 --window 2 --json").out);
  REQUIRE(rows.size() == 6 + 5 + 1);
  CHECK(keys_of(rows[0]) ==
        "layer,head,group,window,recency,uniform,first,uniform_first,entropy,uniform_entropy,distance,n,k,sequences");
  CHECK(rows[0]["n"] == 8);
  CHECK(rows[0]["k"] == 2);
  CHECK(rows[0]["sequences"] == 20);
  CHECK(rows[0]["distance"].size() == 4);  // 0, 1, 2-3, 4-7
  CHECK(rows[5]["group"] == 0);
  CHECK(rows[5]["head"] == 1);
  CHECK(keys_of(rows[6]) == "rank,layer,group,heads,group_recency,loss_without,increase,rank_by_ablation");
  for (std::size_t i = 6; i < 11; ++i) {
    CHECK(rows[i]["rank"] == i - 5);
    if (i > 6) CHECK(rows[i]["group_recency"].get<double>() <= rows[i - 1]["group_recency"].get<double>());
  }
  CHECK(keys_of(rows[11]) == "loss,rank_correlation,groups,n,k,sequences,split");
  CHECK(std::abs(rows[11]["rank_correlation"].get<double>()) <= 1);
  CHECK(rows[11]["groups"] == 5);
}

TEST_CASE("cli: analyze heads uses its defaults, and says when the text is short") {
  const std::string run =
      analysed_run("two", "--layers 2 --heads 4 --mixer attention,recurformer(groups=1,kv_heads=2)");
  const Finished shown = analyze(run, "--json");
  const Json all = json_lines(shown.out).back();
  CHECK(all["k"] == 2);  // a quarter of the context
  CHECK(has(shown.err, "sequences of 8 tokens only, fewer than the 64 asked for"));
  CHECK(all["sequences"].get<int>() < 64);
  const Json one = json_lines(analyze(run, "--json --sequences 1 --split train").out).back();
  CHECK(one["sequences"] == 1);
  CHECK(one["split"] == "train");
}

TEST_CASE("cli: analyze refuses what it cannot do") {
  const std::string run =
      analysed_run("two", "--layers 2 --heads 4 --mixer attention,recurformer(groups=1,kv_heads=2)");
  const auto refused = [](const Finished& finished, const std::string& text) {
    CHECK(not_refused(finished, 2) == "");
    CHECK_MESSAGE(has(finished.err, text), finished.err);
  };
  refused(mixgrad("analyze heads"), "--checkpoint DIR is required");
  refused(analyze(analysed_run("mamba", "--mixer mamba(expand=1)")), "a model with softmax heads is required");
  refused(analyze(run, "--window -1"), "--window must be an integer from 0");
  refused(analyze(run, "--sequences 0"), "--sequences must be an integer from 1");
  refused(mixgrad("analyze tails --checkpoint x"), "heads");
  refused(analyze(run, "--field text"), "without --data the data are read as the run read them");
}

TEST_CASE("cli: analyze heads and convert on a task and on token ids") {
  const TempFolder folder;
  const std::string run = (folder / "task").string();
  REQUIRE(
      mixgrad("train --task copy(count=3,vocab=6) --layers 1 --d-model 16 --heads 2 --batch 4 --steps 3 --threads 1",
              {"--out", run})
          .code == 0);
  const Finished own = analyze(run, "--sequences 10 --window 2");
  CHECK_MESSAGE(own.code == 0, own.err);
  CHECK(has(own.err, "the task is the one that " + run + " was trained on, copy(count=3,vocab=6)"));
  CHECK(own.out.starts_with("10 sequences of 6 tokens, copy(count=3,vocab=6): loss "));
  const Finished other = analyze(run, "--task copy(count=2,vocab=5) --json");
  CHECK_MESSAGE(other.code == 0, other.err);
  CHECK(json_lines(other.out).back()["sequences"] == 64);
  CHECK(has(analyze(run, "--task copy(count=9,vocab=6)").err, "sequences of at most 6 tokens, the model's context"));
  CHECK(has(analyze(run, "--task copy(count=3,vocab=60)").err, "a model with at least 60 tokens is required"));
  CHECK(has(analyze(run, "--task copy(count=3,vocab=6) --split all").err, "a task is not split"));
  for (const char* split : {"all", "train"}) {
    const Finished refused = analyze(run, std::string("--split ") + split);
    CHECK(refused.code == 2);
    CHECK_MESSAGE(has(refused.err, "and a task is not split; leave it out"), refused.err);
  }
  const auto convert = [&](const std::string& from, const std::string& out, const Arguments& more) {
    Arguments arguments{"convert", "--checkpoint",   from,     "--select", "fraction=0.5",
                        "--init",  "from-attention", "--json", "--out",    (folder / out).string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  };
  const Finished half = convert(run, "half", {"--sequences", "8"});
  CHECK_MESSAGE(half.code == 0, half.err);
  CHECK(json_of(half.out)["replaced"].size() == 1);
  CHECK(json_of(half.out)["loss_after"].get<double>() > 0);
  std::string content;
  for (int i = 0; i < 800; ++i) content += {static_cast<char>(i * 7 % 11), '\0'};
  const std::string ids = folder.put("tokens.u16", content).string();
  const std::string stream = (folder / "stream").string();
  REQUIRE(mixgrad("train --layers 1 --d-model 16 --heads 2 --context 8 --batch 2 --steps 3 --threads 1",
                  {"--data", ids, "--out", stream})
              .code == 0);
  CHECK(has(analyze(stream, "--sequences 4").out, "4 sequences of 8 tokens, split valid of " + ids));
  const Finished converted = convert(stream, "stream-half", {"--sequences", "4", "--data", ids});
  CHECK_MESSAGE(converted.code == 0, converted.err);
}

}  // namespace
}  // namespace mixgrad::test
