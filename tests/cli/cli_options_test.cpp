// Options that are given several times, and options that others make meaningless: of every verb.
#include <doctest/doctest.h>

#include <filesystem>
#include <set>

#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

struct TwoRuns {
  TempFolder folder;
  TwoRuns() {
    REQUIRE(train_tiny(folder, "first", "--steps 4").code == 0);
    REQUIRE(train_tiny(folder, "second", "--steps 8").code == 0);
  }
  std::string run(const std::string& name) const { return (folder / name).string(); }
  std::string text() const { return (folder / "text.txt").string(); }
};
const TwoRuns& two_runs() {
  static const TwoRuns once;
  return once;
}

// The options of a verb's help, with a value of their kind.
std::vector<Arguments> options_of(const std::string& verb) {
  std::vector<Arguments> found;
  for (const std::string& line : lines_of(mixgrad(verb + " --help").out)) {
    if (!line.starts_with("  --")) continue;
    const Arguments parts = words(line.substr(0, 27));
    const bool flag = line.size() > 27 ? parts.size() < 2 : words(line).size() < 2;
    found.push_back(flag ? Arguments{parts[0]} : Arguments{words(line)[0], "1"});
  }
  return found;
}

TEST_CASE("cli options: every option of every verb is refused when given twice, unless it is a list") {
  const std::set<std::string> lists{"eval --checkpoint", "gradcheck --op",         "ops --op",        "train --data",
                                    "generate --prompt", "generate --prompt-file", "generate --stop", "train --valid",
                                    "eval --data",       "eval --valid",           "inspect --data",  "inspect --valid",
                                    "bench --data",      "bench --valid",          "data --valid",    "train --freeze",
                                    "analyze --data",    "analyze --valid",        "convert --data",  "convert --valid",
                                    "train --lr-scale"};
  int tried = 0;
  int options = 0;
  const int every = kSanitized ? 7 : 1;  // the same code refuses each of them
  for (const std::string& verb : verb_names()) {
    for (const Arguments& option : options_of(verb)) {
      if (option[0] == "--help" || lists.count(verb + " " + option[0]) == 1) continue;
      if (options++ % every != 0) continue;
      Arguments line{verb};
      for (int twice = 0; twice < 2; ++twice) line.insert(line.end(), option.begin(), option.end());
      const Finished run = run_program(line);
      INFO(joined({verb, " ", option[0]}));
      CHECK(not_refused(run, 2) == "");
      CHECK(has(run.err, option[0] + " must be given once; it was given 2 times"));
      ++tried;
    }
  }
  CHECK(tried > 150 / every);
  const auto refused = [](const std::string& line, const std::string& text) {
    const Finished run = run_program(words(line));
    CHECK(not_refused(run, 2) == "");
    CHECK_MESSAGE(has(run.err, text), run.err);
  };
  refused("train --batch 3 --layers 1 --batch 4",
          "train: --batch must be given once; it was given 2 times, \"3\" and \"4\"; leave one out");
  refused("train --batch 3 --batch=3", "--batch must be given once");
  refused("bench train --seed 1 --seed 2 --seed 3", "--seed must be given once; it was given 3 times");
}

TEST_CASE("cli options: what another option makes meaningless is refused with the reason") {
  const auto refused = [](const std::string& line, const std::string& option, const std::string& reason) {
    INFO(line);
    const Finished run = run_program(words(line));
    CHECK(not_refused(run, 2) == "");
    CHECK_MESSAGE(has(run.err, option + " cannot be given here: " + reason), run.err);
  };
  const std::string first = two_runs().run("first");
  const std::string decided = "the checkpoint of --checkpoint decides the model";
  for (const std::string verb : {"train --out x", "inspect model", "inspect tape", "inspect attention"}) {
    for (const std::string option : {"--preset char", "--layers 2", "--tokenizer byte", "--mixer mamba", "--vocab 300",
                                     "--match params", "--tie false", "--rope-theta 5"}) {
      refused(joined({verb, " --checkpoint ", first, " ", option}), words(option)[0], decided);
    }
  }
  refused("train --preset char --resume " + first, "--preset", "all options come from the run that --resume names");
  for (const std::string verb : {"train --out x", "inspect model", "bench train", "bench decode"}) {
    refused(verb + " --positions learned --rope-theta 5", "--rope-theta", "it belongs to --positions rope");
    refused(verb + " --positions none --rope-theta 5", "--rope-theta", "it belongs to --positions rope");
    refused(verb + " --mixer mamba --hsm-scale 1", "--hsm-scale", "it belongs to a --mixer with shift mixing");
    for (const std::string mixer : {"hsm:matrix", "hsm:gate_single,attention", "mixed(shift=4)", "attention"}) {
      refused(joined({verb, " --hsm-scale 0.05 --mixer ", mixer}), "--hsm-scale", "it belongs to a --mixer with shift");
    }
    refused(verb + " --precision f64 --matmul-precision high", "--matmul-precision", "products of f64");
  }
  const std::string generate = "generate --checkpoint " + first;
  for (const std::string option : {"--top-k 3", "--top-p 0.5", "--seed 4"}) {
    const std::string line = std::string(generate).append(" --temperature 0 ").append(option);
    refused(line, words(option)[0], "--temperature 0 always takes the likeliest");
  }
  refused(generate + " --prompt a --prompt-file b", "--prompt-file", "--prompt gives the text");
  refused(generate + " --escapes", "--escapes", "it needs a text by --prompt or --prompt-file");
  for (const std::string option : {"--sample-tokens 3", "--sample-temperature 0.5", "--sample-prompt a"}) {
    refused("train --out x --json " + option, words(option)[0], "--json prints no sample");
    if (option == "--sample-tokens 3") continue;
    refused("train --out x --sample-tokens 0 " + option, words(option)[0], "--sample-tokens 0 takes no sample");
  }
  refused("train --out x --eval-every 0 --early-stop patience=3", "--early-stop", "--eval-every 0 has no evaluation");
}

TEST_CASE("cli options: eval with several checkpoints prints a row for each, the numbers of eval alone") {
  const std::string eval = "eval --threads 1 --data " + two_runs().text();
  const Arguments both{"--checkpoint", two_runs().run("first"), "--checkpoint", two_runs().run("second")};
  Arguments line = words(eval + " --json");
  line.insert(line.end(), both.begin(), both.end());
  const Finished run = run_program(line);
  CHECK(trouble(run) == "");
  const std::vector<Json> rows = json_lines(run.out);
  REQUIRE(rows.size() == 2);
  for (const std::string name : {"first", "second"}) {
    const Json alone = json_of(mixgrad(eval + " --json", {"--checkpoint", two_runs().run(name)}).out);
    const Json& row = rows[name == "first" ? 0 : 1];
    CHECK(row["checkpoint"] == two_runs().run(name));
    for (const std::string key : {"loss", "perplexity", "bits_per_byte", "targets", "split", "data"}) {
      CHECK(row[key] == alone[key]);
    }
  }
  std::erase(line, "--json");
  const Finished table = run_program(line);
  CHECK(trouble(table) == "");
  const std::vector<std::string> shown = lines_of(table.out);
  REQUIRE(shown.size() == 3);
  CHECK(words(shown[0]).at(1) == "loss");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    char loss[40];
    std::snprintf(loss, sizeof loss, "%.4f", rows[i]["loss"].get<double>());
    CHECK(words(shown[i + 1]).at(0) == rows[i]["checkpoint"].get<std::string>());
    CHECK(words(shown[i + 1]).at(1) == loss);
  }
}

TEST_CASE("cli options: eval continues after a checkpoint that cannot be read, and its exit code reports it") {
  Arguments line = words("eval --json --threads 1 --data " + two_runs().text());
  for (const char* name : {"first", "none", "second"}) line.insert(line.end(), {"--checkpoint", two_runs().run(name)});
  const Finished run = run_program(line);
  CHECK(not_refused(run, 4) == "");
  CHECK(has(run.err, "none: a checkpoint is required"));
  CHECK(json_lines(run.out).size() == 2);
  const Finished empty = run_program({"eval", "--checkpoint", two_runs().run("first"), "--checkpoint", ""});
  CHECK(not_refused(empty, 2) == "");
}

TEST_CASE("cli options: eval takes no more sequences at a time than the text has windows") {
  const std::string eval = "eval --json --threads 1 --data " + two_runs().text();
  const Finished usual = mixgrad(eval, {"--checkpoint", two_runs().run("first")});
  const Finished most = mixgrad(eval + " --batch 1048576", {"--checkpoint", two_runs().run("first")});
  CHECK(trouble(most) == "");  // so many sequences of this model would need 50 GiB
  CHECK(json_of(most.out)["loss"].get<double>() == doctest::Approx(json_of(usual.out)["loss"].get<double>()));
}

TEST_CASE("cli options: ops NAME and ops --op NAME") {
  const std::size_t all = json_lines(mixgrad("ops --json").out).size();
  for (const std::string line : {"ops --json embedding", "ops --json --op embedding", "ops embedding --json"}) {
    const std::vector<Json> rows = json_lines(mixgrad(line).out);
    REQUIRE(rows.size() == 1);
    CHECK(rows[0]["op"] == "embedding");
  }
  CHECK(json_lines(run_program({"ops", "--json", "--op", "embedding", "--op", "relu", "add"}).out).size() == 3);
  CHECK(all > 3);
  const Finished wrong = mixgrad("ops embeding");
  CHECK(not_refused(wrong, 2) == "");
  CHECK(has(wrong.err, "did you mean \"embedding\"?"));
  CHECK(not_refused(mixgrad("ops --op nothing"), 2) == "");
}

// "$RUN" of a variable that is not set.
TEST_CASE("cli options: an empty text in place of a run, a file or a word is refused, not ignored") {
  const std::string& text = two_runs().text();
  const std::string run = two_runs().run("first");
  const std::string out = (two_runs().folder / "none").string();
  const auto refused = [](const Arguments& line, int code, const std::string& part) {
    const Finished finished = run_program(line);
    INFO(finished.err);
    CHECK(not_refused(finished, code) == "");
    CHECK(has(finished.err, part));
  };
  const std::string none = " needs at least one character";
  refused({"train", "--data", text, "--out", out, "--checkpoint", ""}, 2, "--checkpoint" + none);
  refused({"train", "--data", text, "--out", out, "--resume", ""}, 2, "--resume" + none);
  refused({"train", "--data", "", text, "--out", out}, 2, "--data" + none);
  refused({"train", "--data", text, "--out", out, "--valid", ""}, 2,
          "--valid must name files or folders; got an empty");
  refused({"inspect", "model", "--checkpoint", ""}, 2, "--checkpoint" + none);
  refused({"eval", "--checkpoint", run, "--suite", ""}, 2, "--suite" + none);
  for (const std::string verb : {"report", "compare", "plot", "export"}) {
    Arguments line{verb, ""};
    if (verb == "report" || verb == "export") line.insert(line.end(), {"--out", out});
    if (verb == "export") line.insert(line.end(), {"--format", "hf"});
    refused(line, 4, "\"\": a checkpoint is required");
  }
  refused({"import", "", "--out", out}, 4, "\"\": a folder or file with a model is required");
  refused({"train", "--config", "", "--out", out}, 4, "\"\": a readable file is required");
  CHECK_FALSE(std::filesystem::exists(out));
  // A config file as --print-config writes it names no run.
  const std::string config =
      two_runs().folder.put("printed.toml", mixgrad("train --print-config --steps 1").out).string();
  CHECK(has(TempFolder::get(config), "checkpoint = \"\""));
  CHECK(run_program({"train", "--config", config, "--print-config"}).code == 0);
}

}  // namespace
}  // namespace mixgrad::test
