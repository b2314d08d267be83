// Texts with characters outside the vocabulary: what each verb says, and --unknown of train and eval.
#include <doctest/doctest.h>

#include "nn/training/checkpoint.h"
#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

// A folder with a run on small_text() and a text with two kinds of other characters, three in all.
struct Unknown {
  TempFolder folder;
  std::string run, text;

  explicit Unknown(const std::string& options = "") {
    const std::string own = folder.put("own.txt", small_text()).string();
    REQUIRE(train_tiny(folder, "run", "--steps 2 " + options, {"--data", own}).code == 0);
    run = (folder / "run").string();
    text = folder.put("other.txt", "Ünder the cat\nX X " + small_text()).string();
  }
  std::string at(const std::string& name) const { return (folder / name).string(); }
  Finished tune(const std::string& name, const Arguments& more) const {
    Arguments all{"--checkpoint", run, "--out", at(name)};
    all.insert(all.end(), more.begin(), more.end());
    return mixgrad("train --json --steps 6 --batch 2 --threads 1 --warmup 1", all);
  }
  TrainerState state_of(const std::string& name) const { return load_trainer_state(find_generation(folder / name)); }
};

const char* const kList =
    "found 3 others of 2 kinds: 'X' (U+0058) 2 times, first at line 2, column 1 (byte 15); 'Ü' (U+00DC) at line 1, "
    "column "
    "1 (byte 0); leave them out, or use a model with the byte tokenizer";

TEST_CASE("cli unknown: every verb that reads a text lists all characters that the vocabulary lacks") {
  const Unknown u;
  const std::string content = TempFolder::get(u.text);
  struct Line {
    Arguments arguments;
    int code;
    bool has_option;
  };
  const std::vector<Line> lines{
      {{"eval", "--checkpoint", u.run, "--data", u.text}, 3, true},
      {{"train", "--checkpoint", u.run, "--data", u.text, "--out", u.at("new")}, 3, true},
      {{"train", "--checkpoint", u.run, "--sample-prompt", content, "--out", u.at("new")}, 2, false},
      {{"generate", "--checkpoint", u.run, "--prompt", content}, 2, false},
      {{"generate", "--checkpoint", u.run, "--prompt-file", u.text}, 2, false},
      {{"inspect", "attention", "--checkpoint", u.run, "--text", content}, 2, false},
      {{"inspect", "attention", "--checkpoint", u.run, "--text-file", u.text}, 2, false},
      {{"inspect", "attention", "--checkpoint", u.run, "--data", u.text}, 2, false},
  };
  for (const Line& line : lines) {
    const Finished finished = run_program(line.arguments);
    INFO(line.arguments[0] << " " << finished.err);
    CHECK(finished.code == line.code);
    CHECK(finished.out == "");
    CHECK(has(finished.err, kList));
    CHECK(has(finished.err, "; or give --unknown skip or --unknown replace=C\n") == line.has_option);
    CHECK_FALSE(holds_run(u.folder / "new"));
  }
}

TEST_CASE("cli unknown: a fine-tuned run reads a foreign text, says so, and keeps how") {
  const Unknown u;
  const std::string rest =
      ": 'X' (U+0058) 2 times, first at line 2, column 1 (byte 15); 'Ü' (U+00DC) at line 1, column 1 "
      "(byte 0)\n";
  for (const auto& [rule, fate] : {std::pair<std::string, std::string>{"skip", "left out"},
                                   {"replace=a", "replaced by 'a' (U+0061)"},
                                   {"replace= ", "replaced by ' ' (U+0020)"}}) {
    const std::string note =
        joined({"mixgrad: ", u.text, ": 3 characters of 2 kinds are not in the vocabulary and are ", fate, rest});
    const Finished whole = u.tune("whole" + fate, {"--data", u.text, "--unknown", rule});
    INFO(whole.err);
    REQUIRE(whole.code == 0);
    CHECK(has(whole.err, note));
    CHECK(u.state_of("whole" + fate).options.at("unknown") == rule);
    // Stopped and resumed, with the rule of the run: the same bits.
    REQUIRE(u.tune("half" + fate, {"--data", u.text, "--unknown", rule, "--stop-after", "3"}).code == 0);
    const Finished resumed = mixgrad("train --json", {"--resume", u.at("half" + fate)});
    INFO(resumed.err);
    CHECK(resumed.code == 0);
    CHECK(has(resumed.err, note));
    CHECK(TempFolder::get(u.folder / ("half" + fate) / "latest/model.safetensors") ==
          TempFolder::get(u.folder / ("whole" + fate) / "latest/model.safetensors"));
    const Finished other = mixgrad("train --json --unknown replace=t", {"--resume", u.at("half" + fate)});
    CHECK(not_refused(other, 2) == "");
    CHECK(has(other.err, joined({"--unknown must stay what it was in this run, \"", rule, "\"; got \"replace=t\""})));
    // eval and another run on the run's own text read it as the run did.
    const Finished own = mixgrad("eval --json --threads 1", {"--checkpoint", u.at("whole" + fate)});
    INFO(own.err);
    CHECK(own.code == 0);
    CHECK(has(own.err, note));
    CHECK(own.out == mixgrad("eval --json --threads 1",
                             {"--checkpoint", u.at("whole" + fate), "--data", u.text, "--unknown", rule})
                         .out);
    CHECK(json_of(own.out)["loss"] == json_of(lines_of(whole.out).back())["val_loss"]);
    const Finished tuned = mixgrad("train --json --steps 2 --batch 2 --threads 1 --warmup 1",
                                   {"--checkpoint", u.at("whole" + fate), "--out", u.at("again" + fate)});
    INFO(tuned.err);
    CHECK(tuned.code == 0);
    CHECK(u.state_of("again" + fate).options.at("unknown") == rule);
    // A rule that is given stands above the run's.
    CHECK(not_refused(mixgrad("eval --unknown error", {"--checkpoint", u.at("whole" + fate), "--data", u.text}), 3) ==
          "");
  }
  // Skipping and replacing are not the same text.
  CHECK(TempFolder::get(u.folder / "wholeleft out/latest/model.safetensors") !=
        TempFolder::get(u.folder / "wholereplaced by 'a' (U+0061)/latest/model.safetensors"));
}

TEST_CASE("cli unknown: a text without such characters is read as ever, and the default is not stored") {
  const Unknown u;
  const std::string own = u.at("own.txt");
  const Finished with = u.tune("with", {"--data", own, "--unknown", "skip"});
  const Finished without = u.tune("without", {"--data", own});
  CHECK(with.code == 0);
  CHECK_FALSE(has(with.err, "vocabulary"));
  CHECK(TempFolder::get(u.folder / "with/latest/model.safetensors") ==
        TempFolder::get(u.folder / "without/latest/model.safetensors"));
  CHECK(u.state_of("without").options.count("unknown") == 0);
  CHECK(u.tune("error", {"--data", own, "--unknown", "error"}).code == 0);
  CHECK(u.state_of("error").options.count("unknown") == 0);
  const Finished resumed = mixgrad("train --json --unknown skip", {"--resume", u.at("without")});
  CHECK(not_refused(resumed, 2) == "");
  CHECK(has(resumed.err, "--unknown must stay what it was in this run, \"error\"; got \"skip\""));
}

TEST_CASE("cli unknown: a rule that cannot be is refused, and so is one without effect") {
  const Unknown u;
  const auto refused = [&](const std::string& rule, const std::string& why) {
    for (const bool trains : {false, true}) {
      const Finished run = trains ? u.tune("new", {"--data", u.text, "--unknown", rule})
                                  : mixgrad("eval", {"--checkpoint", u.run, "--data", u.text, "--unknown", rule});
      INFO(run.err);
      CHECK(not_refused(run, 2) == "");
      CHECK(has(run.err, why));
      CHECK_FALSE(holds_run(u.folder / "new"));
    }
  };
  refused("skp", "--unknown must be error, skip or replace=C with a character C; got \"skp\"; did you mean \"skip\"?");
  refused("replace", "did you mean \"replace=C\"?");
  refused("replace=", "--unknown replace=C needs exactly one character C; got \"\"");
  refused("replace=??", "--unknown replace=C needs exactly one character C; got \"??\"");
  refused("replace=?", "--unknown replace=C needs a character C of the checkpoint's vocabulary; got '?' (U+003F)");
  refused("", "--unknown needs at least one character");
  const Finished fresh = mixgrad("train --json --unknown skip" + kTiny, {"--out", u.at("new"), "--data", u.text});
  CHECK(not_refused(fresh, 2) == "");
  CHECK(has(fresh.err, "--unknown cannot be given here: a new run makes its vocabulary from its text; leave it out"));

  const Unknown bytes("--tokenizer byte");
  for (const bool trains : {false, true}) {
    const Finished run = trains ? bytes.tune("new", {"--data", bytes.text, "--unknown", "skip"})
                                : mixgrad("eval --unknown skip", {"--checkpoint", bytes.run, "--data", bytes.text});
    INFO(run.err);
    CHECK(not_refused(run, 2) == "");
    CHECK(has(run.err,
              "--unknown cannot be given here: the tokenizer of the checkpoint can express any text; leave it out"));
    CHECK_FALSE(holds_run(bytes.folder / "new"));
  }
  // Of several checkpoints it concerns those that have a vocabulary of characters.
  const Finished both = run_program(
      {"eval", "--json", "--unknown", "skip", "--checkpoint", u.run, "--checkpoint", bytes.run, "--data", u.text});
  INFO(both.err);
  CHECK(both.code == 0);
  CHECK(json_lines(both.out).size() == 2);
  CHECK(has(both.err, joined({"--unknown means nothing for ", bytes.run, ", whose tokenizer can express any text"})));
}

}  // namespace
}  // namespace mixgrad::test
