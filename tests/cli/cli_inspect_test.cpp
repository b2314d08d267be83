// mixgrad inspect model and inspect tape, from options and from a checkpoint, and --match params.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

const TempFolder& shared_folder() {
  static const TempFolder folder;
  if (!std::filesystem::exists(folder / "text.txt")) folder.put("text.txt", small_text());
  return folder;
}
const Arguments& data() {
  static const Arguments arguments{"--data", (shared_folder() / "text.txt").string()};
  return arguments;
}

TEST_CASE("cli: inspect model tells parameters and layers, inspect tape one step") {
  Arguments model = words("model --layers 2 --d-model 16 --heads 2 --context 8 --mixer hsm:scalar,attention");
  model.insert(model.end(), data().begin(), data().end());
  const Finished text = mixgrad("inspect", model);
  CHECK(trouble(text) == "");
  const std::vector<Json> rows = json_lines(mixgrad("inspect --json", model).out);
  std::int64_t numbers = 0;
  std::int64_t in_parts = 0;
  for (const Json& row : rows) {
    if (row.contains("parameter")) {
      CHECK(keys_of(row) == "parameter,shape,decay");
      std::int64_t count = 1;
      for (const Json& size : row["shape"]) count *= size.get<std::int64_t>();
      numbers += count;
      CHECK(has(text.out, row["parameter"].get<std::string>() + " "));
    } else {
      CHECK(keys_of(row) == "part,parameters,operations_per_token,state_bytes");
      if (row["part"] != "total") in_parts += row["parameters"].get<std::int64_t>();
    }
  }
  CHECK(numbers > 0);
  CHECK(in_parts == numbers);
  CHECK(rows.back()["part"] == "total");
  CHECK(rows.back()["parameters"] == numbers);
  CHECK(rows.back()["operations_per_token"].get<double>() > static_cast<double>(numbers));

  CHECK(has(text.out, "\nlayer 0 hsm scalar, shift 1"));
  model[0] = "tape";
  const Finished tape = mixgrad("inspect --batch 2 --threads 1", model);
  CHECK(trouble(tape) == "");
  const std::vector<Json> entries = json_lines(mixgrad("inspect --json --batch 2 --threads 1", model).out);
  CHECK(has(tape.out, std::to_string(entries.size()) + " entries for tokens [2,8]"));
  REQUIRE(entries.size() > 10);
  for (const Json& entry : entries) CHECK(keys_of(entry) == "op,outputs,saved_bytes,saved");
  CHECK(entries.front()["op"] == "embedding");
  CHECK(entries.back()["op"] == "linear_cross_entropy");
}

TEST_CASE("cli: inspect model keeps its columns, however much there is to say of a layer") {
  Arguments model = data();
  model.insert(model.end(), {"--layers", "1", "--d-model", "64", "--mixer",
                             "mixed(softmax=4,mamba=2,shift=2,shifts=1000|2000)", "--heads", "8", "--context", "4000"});
  const Finished shown = mixgrad("inspect model", model);
  CHECK(trouble(shown) == "");
  const std::vector<std::string> lines = lines_of(shown.out);
  const auto title = std::ranges::find_if(lines, [](const std::string& line) { return line.starts_with("part "); });
  REQUIRE(title != lines.end());
  const std::size_t end = title->size();
  std::string layer;                                              // what is said of the mixer, its lines joined
  for (auto line = title + 1; line + 1 != lines.end(); ++line) {  // the last line is a remark
    INFO(*line);
    if (line->starts_with("    ")) {  // the continuation of a line
      CHECK(line->size() <= 64);
      layer += line->substr(3);
      continue;
    }
    CHECK(line->size() == end);  // state bytes, at the right
    if (line->starts_with("layer 0 softmax")) layer = line->substr(0, line->find("  "));
  }
  const std::vector<Json> rows = json_lines(mixgrad("inspect model --json", model).out);
  CHECK(std::ranges::any_of(rows, [&](const Json& row) { return row.value("part", "") == layer; }));
}

TEST_CASE("cli: --match params gives the MLP what the mixers save against attention") {
  const auto hidden = [](const std::string& options, const std::string& mixer) {
    Arguments model = data();
    model.insert(model.end(), {"--mixer", mixer});
    const Finished run =
        mixgrad("inspect model --json --layers 2 --d-model 64 --heads 4 --context 16 " + options, model);
    INFO(run.err);
    REQUIRE(run.code == 0);
    for (const Json& row : json_lines(run.out)) {
      if (row.value("parameter", "") == "layers.0.mlp.up.weight") return row["shape"][0].get<int>();
    }
    return 0;
  };
  CHECK(hidden("--match width", "hsm:scalar") == 256);
  CHECK(hidden("", "hsm:scalar") == 256);
  CHECK(hidden("--match params", "hsm:scalar") == 376);  // 256 + (4 64^2 - 2) / (2 64) = 383.98
  CHECK(hidden("--match params", "hsm:scalar,attention") == 312);
  CHECK(hidden("--match params", "attention") == 256);
  CHECK(hidden("--match params --d-ff 100", "hsm:scalar") == 224);
  Arguments model = data();
  model.insert(model.end(), {"--mixer", "hsm:fusion(hidden=2000)"});
  const Finished large = mixgrad("inspect model --match params", model);
  CHECK(not_refused(large, 2) == "");
  CHECK(has(large.err, "equal parameters: the mixers may take at most what softmax attention and an MLP of 512"));
  const Finished misspelt = mixgrad("inspect model --match parameters", data());
  CHECK(not_refused(misspelt, 2) == "");
}

TEST_CASE("cli: inspect takes a checkpoint in place of a model's options") {
  const TempFolder folder;
  REQUIRE(train_tiny(folder, "run", "--steps 1").code == 0);
  const std::string run = (folder / "run").string();
  const Finished shown = mixgrad("inspect model --json", {"--checkpoint", run});
  CHECK(trouble(shown) == "");
  CHECK(json_lines(shown.out).at(0)["shape"] == Json::array({19, 16}));
  const Finished refused = mixgrad("inspect model --layers 2", {"--checkpoint", run});
  CHECK(not_refused(refused, 2) == "");
  CHECK(has(refused.err, "--layers cannot be given here: the checkpoint of --checkpoint decides the model"));
  const Finished matched = mixgrad("inspect model --match params", {"--checkpoint", run});
  CHECK(not_refused(matched, 2) == "");
  CHECK(has(matched.err, "--match cannot be given here: the checkpoint of --checkpoint decides the model"));
}

TEST_CASE("cli inspect: how a text is read is refused where it changes nothing") {
  const TempFolder folder;
  REQUIRE(train_tiny(folder, "run", "--steps 1").code == 0);
  const std::string run = (folder / "run").string();
  const std::string text = (folder / "text.txt").string();
  const auto refused = [&](const std::string& line, const Arguments& more, const std::string& said) {
    const Finished wrong = mixgrad(line, more);
    INFO(line);
    CHECK(not_refused(wrong, 2) == "");
    CHECK_MESSAGE(has(wrong.err, said), wrong.err);
  };
  for (const std::string word : {"model", "tape", "attention"}) {
    const std::string verb = "inspect " + word + " ";
    for (const std::string option :
         {"--valid none", "--field x", "--column x", "--codebooks 0", "--codebook-size 7", "--document-token a"}) {
      const std::string name = words(option)[0];
      refused(verb + option, {"--checkpoint", run}, name + " cannot be given here: no --data are given");
    }
    for (const char* valid : {"--valid none", "--valid 0.2"}) {
      refused(verb + valid, {"--data", text}, "--valid cannot be given here: nothing is split");
    }
    refused("inspect " + word + " --codebook-size 7", {"--data", text},
            "--codebook-size cannot be given here: no source is an array");
    refused("inspect " + word + " --field x", {"--data", text}, "--field cannot be given here: no source is JSON");
    if (word == "attention") continue;
    refused("inspect " + word + " --document-token a", {"--data", text},
            "--document-token cannot be given here: the data only");
  }
  // What has an effect: a validation source adds its characters to the vocabulary.
  const std::string more = folder.put("more.txt", "ZYX zyx").string();
  const Arguments data{"--data", text, "--valid", more};
  CHECK(trouble(mixgrad("inspect model --json --layers 1", data)) == "");
  CHECK(mixgrad("inspect model --layers 1", data).out != mixgrad("inspect model --layers 1", {"--data", text}).out);
}

}  // namespace
}  // namespace mixgrad::test
