// mixgrad inspect attention: where trained models look, as tables and as JSON.
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>

#include "nn/mixers/attention_mixer.h"
#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

const TempFolder& folder() {
  static const TempFolder shared;
  return shared;
}

// A tiny trained model; the same options give the same one again.
std::string trained(const std::string& name, const std::string& options, const Arguments& more = {}) {
  if (!std::filesystem::exists(folder() / name)) {
    const Finished run = train_tiny(folder(), name, "--steps 3 " + options, more);
    REQUIRE(run.code == 0);
  }
  return (folder() / name).string();
}

std::string with_shortcut() {
  return trained("shortcut", "--layers 3 --mixer hsm:scalar(heads=2),attention,attention",
                 {"--shortcut", "0,1,2(hidden=8)"});
}

Finished inspect(const std::string& run, const std::string& text, const std::string& options = "") {
  return mixgrad("inspect attention --threads 1 " + options, {"--checkpoint", run, "--text", text});
}

Json first_with(const std::vector<Json>& rows, const std::string& key) {
  for (const Json& row : rows) {
    if (row.contains(key)) return row;
  }
  return Json();
}

TEST_CASE("cli: inspect attention prints recency, depth mass and shifts of a model that has all three") {
  const Finished shown = inspect(with_shortcut(), "the cat sat", "--recency 2");
  CHECK(trouble(shown) == "");
  INFO(shown.out);
  CHECK(shown.out.starts_with("11 tokens in 1 sequence of 8; the last 3 are left out\n"));
  CHECK(has(shown.out, "the k = 2 before it, mean over n = 8 positions"));
  CHECK(has(shown.out, "\nlayer 1   "));  // layer 0 mixes shifts, layer 2 is the shortcut's
  CHECK(!has(shown.out, "\nlayer 2   "));
  CHECK(has(shown.out, "depth mass of the shortcut, mean over the heads"));
  CHECK(has(shown.out, "\n  3 "));
  CHECK(has(shown.out, " \" \"      "));
  CHECK(has(shown.out, "\nall "));
  CHECK(has(shown.out, "receptive field of this layer: 3 tokens"));
}

TEST_CASE("cli: inspect attention says which heads see a window, and what a head has that looks at it alike") {
  const std::string run =
      trained("windowed", "--layers 2 --heads 2 --mixer attention,mixed(softmax=1,windowed=1,window=3)");
  const Finished shown = inspect(run, "the cat sat on a", "--recency 1");
  CHECK(trouble(shown) == "");
  INFO(shown.out);
  CHECK(has(shown.out, "\n window      all      3\n uniform   "));
  const std::vector<Json> rows = json_lines(inspect(run, "the cat sat on a", "--recency 1 --json").out);
  const Json& plain = rows[0];
  CHECK(keys_of(plain) == "layer,heads,recency,n,k,uniform");
  const Json& windowed = rows[1];
  CHECK(keys_of(windowed) == "layer,heads,recency,n,k,uniform,windows,uniform_of_heads");
  CHECK(windowed["windows"] == Json{0, 3});
  CHECK(std::abs(windowed["uniform_of_heads"][1].get<double>() - uniform_recency(8, 1, 3)) < 1e-12);
  CHECK(std::abs(windowed["uniform_of_heads"][0].get<double>() - windowed["uniform"].get<double>()) < 1e-12);
}

TEST_CASE("cli: inspect attention in JSON has the same figures, whole") {
  const Finished shown = inspect(with_shortcut(), "the cat sat on a", "--json");
  CHECK(trouble(shown) == "");
  const std::vector<Json> rows = json_lines(shown.out);
  const Json recency = first_with(rows, "recency");
  CHECK(keys_of(recency) == "layer,heads,recency,n,k,uniform");
  CHECK(recency["heads"] == Json{0, 1});
  CHECK(recency["layer"] == 1);
  CHECK(recency["recency"].size() == 2);
  CHECK(recency["n"] == 8);
  CHECK(recency["k"] == 4);
  CHECK(std::abs(recency["uniform"].get<double>() - uniform_recency(8, 4)) < 1e-12);
  for (const double ratio : recency["recency"]) CHECK((ratio > 0 && ratio <= 1 + 1e-6));
  int tokens = 0;
  for (const Json& row : rows) {
    if (!row.contains("token")) continue;
    CHECK(keys_of(row) == "token,id,text,depth_mass,effective_depth");
    CHECK(row["text"] == std::string(1, "the cat "[tokens++]));
    CHECK(row["depth_mass"].size() == 2);
    double level = 0;
    for (const Json& head : row["depth_mass"]) {
      const auto mass = head.get<std::vector<double>>();
      REQUIRE(mass.size() == 3);
      CHECK(std::abs(mass[0] + mass[1] + mass[2] - 1) < 1e-5);
      level += (mass[1] + 2 * mass[2]) / 2;
    }
    CHECK(std::abs(row["effective_depth"].get<double>() - level) < 1e-5);
  }
  CHECK(tokens == 8);
  const Json mean = first_with(rows, "mean_depth_mass");  // of both sequences
  CHECK(keys_of(mean) == "sources,mean_depth_mass,mean_effective_depth");
  CHECK((mean["sources"] == Json{0, 1, 2}));
  const auto means = mean["mean_depth_mass"].get<std::vector<double>>();
  CHECK(std::abs(std::accumulate(means.begin(), means.end(), 0.0) - 1) < 1e-5);
  CHECK(std::abs(mean["mean_effective_depth"].get<double>() - means[1] - 2 * means[2]) < 1e-5);
  CHECK(first_with(rows, "receptive_field")["receptive_field"] == 3);
  CHECK(keys_of(first_with(rows, "receptive_field")) == "shift_layers,shifts,receptive_field");
  CHECK(first_with(rows, "receptive_field")["shift_layers"] == Json{0});
  CHECK(first_with(rows, "receptive_field")["shifts"] == Json::array({Json::array({1, 2})}));
  CHECK(first_with(rows, "lag")["lag"] == 0);
}

TEST_CASE("cli: inspect attention leaves out what a model does not have") {
  const Finished shifts = inspect(trained("hsm", "--mixer hsm:vector"), "the cat");
  CHECK(trouble(shifts) == "");
  CHECK(shifts.out.starts_with("7 tokens in 1 sequence of 7; the model has no softmax heads that read them\n"));
  CHECK(!has(shifts.out, "recency ratio"));
  CHECK(!has(shifts.out, "depth mass"));
  CHECK(has(shifts.out, "receptive field"));
  const std::string feature = trained("feature", "--layers 2", {"--shortcut", "0,1(hidden=8,concat=feature)"});
  const Finished mixed = inspect(feature, "the cat");
  CHECK(trouble(mixed) == "");
  CHECK(has(mixed.out, "no depth mass: in a shortcut of concat feature every key is made of all sources"));
  CHECK(!has(mixed.out, "receptive field"));
  CHECK(first_with(json_lines(inspect(feature, "the cat", "--json").out), "depth_mass").is_null());
}

TEST_CASE("cli: inspect attention tells how long each channel of a Mamba head remembers") {
  const std::string run = trained("mamba", "", {"--mixer", "recurformer(fraction=0.5)"});
  const Finished shown = inspect(run, "the cat");
  CHECK(trouble(shown) == "");
  CHECK(has(shown.out, "\nlayer 0    "));  // the recency of the one softmax head
  CHECK(has(shown.out, "Mamba heads: tokens until"));
  CHECK(has(shown.out, "\nlayer 0   head 1 "));
  const Json decay = first_with(json_lines(inspect(run, "the cat", "--json").out), "decay_longest");
  CHECK(keys_of(decay) == "layer,head,decay_shortest,decay_longest");
  CHECK(decay["layer"] == 0);
  CHECK(decay["head"] == 1);
  REQUIRE(decay["decay_longest"].size() == 16);  // 2 dh inner channels, dh = 8
  for (std::size_t d = 0; d < 16; ++d) {
    const double shortest = decay["decay_shortest"][d];
    const double longest = decay["decay_longest"][d];
    CHECK(shortest > 0);
    CHECK(std::abs(longest / shortest - 16) < 1);  // states at A = -1 to -16 at the start
  }
}

TEST_CASE("cli: inspect attention needs neither a text nor a checkpoint for what the model alone says") {
  const Arguments model{"--data", folder().put("text.txt", small_text()).string(), "--layers", "3", "--context", "8"};
  Arguments shifts = model;
  shifts.insert(shifts.end(), {"--mixer", "hsm:scalar"});
  const Finished table = mixgrad("inspect attention", shifts);
  CHECK(trouble(table) == "");
  CHECK(has(table.out, "\n    2     0  scalar       4  0.050000  0.050000\n"));
  CHECK(has(table.out, "receptive field of these layers: 8 tokens"));
  CHECK(!has(table.out, "recency"));
  const std::vector<Json> rows = json_lines(mixgrad("inspect attention --json", shifts).out);
  REQUIRE(rows.size() == 12);
  CHECK(keys_of(rows[2]) == "layer,head,variant,shift,a,b");
  CHECK(rows[2]["layer"] == 2);
  CHECK(rows[2]["shift"] == 4);
  CHECK(rows[2]["b"].get<double>() == doctest::Approx(0.05));
  CHECK(rows[3] == Json{{"shift_layers", {0, 1, 2}}, {"shifts", {{1}, {2}, {4}}}, {"receptive_field", 8}});
  CHECK(keys_of(rows[11]) == "lag,paths,weight");
  CHECK(rows[11]["lag"] == 7);
  CHECK(rows[11]["paths"] == 1);
  CHECK(rows[11]["weight"].get<double>() == doctest::Approx(0.05 * 0.05 * 0.05));

  Arguments mamba = model;
  mamba.insert(mamba.end(), {"--mixer", "mamba", "--heads", "2"});
  const Finished decays = mixgrad("inspect attention", mamba);
  CHECK(trouble(decays) == "");
  CHECK(has(decays.out, "\nlayer 2   head 1 "));

  // Softmax heads before training, on a text.
  const Finished heads = mixgrad("inspect attention --text cat", model);
  CHECK(trouble(heads) == "");
  CHECK(has(heads.out, "recency ratio of each softmax head"));
}

TEST_CASE("cli: inspect attention shows bytes that are not characters") {
  const std::string bytes =
      trained("bytes", "--layers 2 --tokenizer byte", {"--shortcut", "0,1(hidden=8,concat=depth)"});
  const Finished shown = inspect(bytes, "\xc3\xa9\n");
  CHECK(trouble(shown) == "");
  CHECK(has(shown.out, "\"\\n\""));
  CHECK(json_lines(inspect(bytes, "\xc3\xa9", "--json").out).size() == 4);  // recency, two tokens, their mean
}

TEST_CASE("cli: inspect attention names the bytes of a part of a character, in columns") {
  const std::string bytes =
      trained("bytes", "--layers 2 --tokenizer byte", {"--shortcut", "0,1(hidden=8,concat=depth)"});
  const std::vector<Json> rows = json_lines(inspect(bytes, "a\xe5\xb1\xb1", "--json").out);
  REQUIRE(rows.size() == 6);  // recency, four tokens, their mean
  CHECK(rows[1]["text"] == "a");
  CHECK(rows[2]["id"] == 0xe5);
  CHECK(rows[2]["text"] == "\\xe5");
  CHECK(rows[4]["text"] == "\\xb1");
  CHECK(has(inspect(bytes, "a\xe5\xb1\xb1").out, "229 \"\\xe5\"  "));
}

TEST_CASE("cli: inspect attention reads a text of any length from a file, stdin or --data") {
  const std::string run = with_shortcut();
  std::string text;
  for (int i = 0; i < 900; ++i) text += "the cat sat ";  // 10,800 tokens: more than are taken at once
  const std::string file = folder().put("long.txt", text).string();
  const auto output = [&](const Arguments& more) {
    Arguments arguments{"--checkpoint", run, "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished shown = mixgrad("inspect attention --threads 1", arguments);
    CHECK(trouble(shown) == "");
    return shown.out;
  };
  const std::string by_text = output({"--text", text});
  CHECK(output({"--text-file", file}) == by_text);
  CHECK(output({"--data", file}) == by_text);
  // Equal sequences have the ratios of one of them, however many are taken at once.
  const Json whole = json_lines(by_text)[0];
  const auto context = whole["n"].get<std::size_t>();
  std::string repeated;
  while (repeated.size() < 12 * context) repeated += "the cat sat ";
  repeated.resize(12 * context);  // a whole number of sequences and of periods
  std::string longer;
  while (longer.size() < 30000) longer += repeated;
  const Json few = json_lines(output({"--text", repeated}))[0];
  const Json many = json_lines(output({"--text", longer}))[0];
  for (std::size_t h = 0; h < few["recency"].size(); ++h) {
    CHECK(many["recency"][h].get<double>() == doctest::Approx(few["recency"][h].get<double>()).epsilon(1e-5));
  }
  // Whatever gave the text is named when it does not fit.
  const auto refused = [&](const std::string& option, const std::string& content, const std::string& why) {
    const std::string path = folder().put("odd.txt", content).string();
    const Finished odd = mixgrad("inspect attention", {"--checkpoint", run, option, path});
    CHECK(not_refused(odd, 2) == "");
    CHECK_MESSAGE(has(odd.err, joined({option, " ", path, ": ", why})), odd.err);
  };
  for (const std::string option : {"--text-file", "--data"}) {
    refused(option, "", "at least one character is required; the file is empty");
    refused(option, "the CAT", "every character must be one of");
    refused(option, "the \xe5", "the char tokenizer needs UTF-8 text");
  }
  const Finished shifts =
      mixgrad("inspect attention", {"--checkpoint", trained("shifts", "--mixer hsm:scalar"), "--data", file});
  CHECK(not_refused(shifts, 2) == "");
  CHECK(has(shifts.err, "--data cannot be given here: the model has no softmax heads that read a text; leave it out"));
  const Finished both = mixgrad("inspect attention --text x", {"--checkpoint", run, "--data", file});
  CHECK(not_refused(both, 2) == "");
  CHECK(has(both.err, "inspect attention: --data cannot be given here: --text gives the text; leave it out"));
  const Finished model = mixgrad("inspect model", {"--checkpoint", run, "--data", file});
  CHECK(not_refused(model, 2) == "");
  CHECK(has(model.err, "inspect model: --data cannot be given here: the checkpoint has its vocabulary; leave it out"));
}

TEST_CASE("cli: inspect attention shows one layer or one head of any kind") {
  const std::string run = trained(
      "kinds", "--layers 3 --heads 4",
      {"--mixer", "hsm:scalar(heads=4),mixed(softmax=1,mamba=1,shift=2),attention", "--shortcut", "0,1(hidden=8)"});
  const auto rows = [&](const std::string& options, const std::string& text = "") {
    Arguments more{"--checkpoint", run};
    if (!text.empty()) more.insert(more.end(), {"--text", text});
    const Finished shown = mixgrad("inspect attention --json --threads 1 " + options, more);
    INFO(options << shown.err);
    CHECK(trouble(shown) == "");
    return json_lines(shown.out);
  };
  // Everything, then parts that are the same rows.
  const std::vector<Json> all = rows("", "the cat");
  const auto stands_in_all = [&](const Json& row) { return std::find(all.begin(), all.end(), row) != all.end(); };
  CHECK(first_with(all, "recency")["heads"] == Json{0});
  const std::vector<Json> one = rows("--layer 0 --head 2");
  REQUIRE(one.size() == 4);
  CHECK(keys_of(one[0]) == "layer,head,variant,shift,a,b");
  CHECK(one[0]["shift"] == 4);
  CHECK(stands_in_all(one[0]));
  CHECK(one[1] == Json{{"shift_layers", {0}}, {"shifts", {{4}}}, {"receptive_field", 5}});
  CHECK(one[2]["lag"] == 0);
  CHECK(one[3]["lag"] == 4);  // the lags between are out of reach
  CHECK(one[2]["weight"].get<double>() == doctest::Approx(1 + one[0]["a"].get<double>()));
  CHECK(one[3]["weight"].get<double>() == doctest::Approx(std::abs(one[0]["b"].get<double>())));
  for (const std::string options : {"--layer 1 --head 2", "--layer 1 --head 3"}) {
    const std::vector<Json> shift = rows(options);  // shift heads beside others: their channels are projected
    REQUIRE(shift.size() == 1);
    CHECK(shift[0]["variant"] == "mixed");
    CHECK(stands_in_all(shift[0]));
  }
  const std::vector<Json> mamba = rows("--layer 1 --head 1");
  REQUIRE(mamba.size() == 1);
  CHECK(stands_in_all(mamba[0]));
  CHECK(mamba[0].contains("decay_longest"));
  const std::vector<Json> softmax = rows("--layer 1 --head 0", "the cat");
  REQUIRE(softmax.size() == 1);
  CHECK(softmax[0] == first_with(all, "recency"));
  CHECK(rows("--layer 1", "the cat").size() == 4);
  // Head 2 of every layer: of the shift-mixing one, of the mixed one, and of the shortcut.
  const std::vector<Json> third = rows("--head 2", "the cat");
  CHECK(first_with(third, "recency").is_null());
  CHECK(first_with(third, "depth_mass")["depth_mass"].size() == 1);
  CHECK(first_with(third, "depth_mass")["depth_mass"][0] == first_with(all, "depth_mass")["depth_mass"][2]);
  CHECK(first_with(rows("--layer 2 --head 2", "the cat"), "mean_depth_mass") == first_with(third, "mean_depth_mass"));

  const auto refused = [&](const std::string& options, const std::string& why) {
    const Finished finished = mixgrad("inspect attention " + options, {"--checkpoint", run});
    CHECK(not_refused(finished, 2) == "");
    CHECK_MESSAGE(has(finished.err, why), finished.err);
    CHECK(finished.out == "");
  };
  refused("--layer 3", "the layer must be from 0 to 2: the model has 3 layers; got 3; choose one of them");
  refused("--head 4", "the head must be from 0 to 3: no layer has more than 4 heads; got 4; choose one of them");
  refused("--layer 1 --head 7", "the head must be from 0 to 3: layer 1 has 4 heads; got 7; choose one of them");
  refused("--layer -2", "--layer must be an integer from -1 to 1023; got \"-2\"");
  refused("--layer 1", "a text with at least one token is required for a model with softmax heads");
  refused("--layer 0 --text cat", "--text cannot be given here: --layer and --head leave no softmax heads that read a");
  refused("--layer 1 --head 2 --text-file x", "--text-file cannot be given here: --layer and --head leave no softmax");
  refused("--seed 2 --text cat", "--seed cannot be given here: the checkpoint of --checkpoint decides the model");
  const Finished unequal =
      mixgrad("inspect attention --layers 2 --head 1", {"--mixer", "hsm:gate_single(heads=2),hsm:scalar(heads=4)"});
  CHECK(not_refused(unequal, 2) == "");
  CHECK(has(unequal.err,
            "must have as many heads each, so that head 1 has the same channels in all of them; found 2 and"));
  CHECK(has(mixgrad("inspect model --seed 2").err, "--seed cannot be given here: it belongs to inspect attention"));
  // Variants without a and b have none.
  const Finished gate = mixgrad("inspect attention --layers 1", {"--mixer", "hsm:gate_single(heads=2)"});
  CHECK(has(gate.out, "\n    0     1  gate_single      2  -  -\n"));
}

TEST_CASE("cli: inspect attention refuses what it cannot read") {
  const std::string run = with_shortcut();
  const auto refused = [](const Finished& run_, const std::string& text) {
    CHECK(run_.code == 2);
    CHECK(run_.out.empty());
    INFO(run_.err);
    CHECK(has(run_.err, text));
    CHECK(lines_of(run_.err).size() == 1);
  };
  refused(inspect(run, ""),
          "inspect attention: a text with at least one token is required for a model with softmax heads; give one");
  refused(inspect(trained("mamba", "", {"--mixer", "recurformer(fraction=0.5)"}), ""), "give one with --text TEXT");
  refused(mixgrad("inspect shifts"), "must be one of model, tape, attention");
  refused(inspect(run, "the CAT"), "--text");
  refused(inspect(run, "the cat", "--recency -1"), "--recency must be an integer from 0");
  refused(mixgrad("inspect model --text x --preset char"), "it belongs to inspect attention");
  refused(mixgrad("inspect tape --recency 3 --preset char"), "it belongs to inspect attention");
  refused(inspect(run, "the cat", "--layers 3"),
          "--layers cannot be given here: the checkpoint of --checkpoint decides the model");
}

TEST_CASE("cli: --shortcut is refused in one line where it does not fit the model") {
  const auto refused = [](const std::string& options, const std::string& shortcut, const std::string& text) {
    const Finished run = mixgrad("inspect model --layers 3 --d-model 16 --heads 2 " + options,
                                 {"--shortcut", shortcut, "--data", (folder() / "text.txt").string()});
    INFO(run.err);
    CHECK(run.code == 2);
    CHECK(run.out.empty());
    CHECK(lines_of(run.err).size() == 1);
    CHECK(has(run.err, text));
  };
  folder().put("text.txt", small_text());
  refused("", "1,3(hidden=8)",
          "shortcut.sources[1] must be from 0 (the embedding) to 2 (what the last layer is given); "
          "got 3; choose hidden states below the last layer");
  refused("", "2,1(hidden=8)", "shortcut.sources must be ascending, each once; got 1 after 2; sort the list");
  refused("", "1,1(hidden=8)", "shortcut.sources must be ascending, each once; got 1 after 1; sort the list");
  refused("--mixer attention,hsm:scalar,hsm:scalar", "1(hidden=8)",
          "a shortcut needs attention as the last layer; got hsm in layers[2]; make the last layer attention");
  refused("", "1(hidden=0)", "shortcut: hidden must be an integer from 1 to 1048576; got \"0\"; correct it");
  refused("", "1(concat=deep)", "shortcut: concat must be one of sequence, feature, depth; got \"deep\"");
}

TEST_CASE("cli inspect attention: --recency without softmax heads is refused") {
  const auto refused = [](const std::string& options, const std::string& text) {
    const Finished run = mixgrad("inspect attention --layers 2 --heads 2 --d-model 16 --recency 4 " + options);
    INFO(options);
    CHECK(not_refused(run, 2) == "");
    CHECK_MESSAGE(has(run.err, text), run.err);
  };
  refused("--mixer hsm:scalar --positions none", "--recency cannot be given here: the model has no softmax heads");
  refused("--mixer mamba --positions none", "--recency cannot be given here: the model has no softmax heads");
  refused("--mixer hsm:scalar,attention --layer 0",
          "--recency cannot be given here: --layer and --head leave no softmax");
  CHECK(
      mixgrad("inspect attention --layers 2 --d-model 16 --heads 2 --mixer hsm:scalar,attention --recency 4 --text the")
          .code == 0);
  CHECK(mixgrad("inspect attention --layers 2 --d-model 16 --heads 2 --mixer hsm:scalar --positions none").code == 0);
}

}  // namespace
}  // namespace mixgrad::test
