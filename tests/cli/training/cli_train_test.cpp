// mixgrad train.
#include "tests/support/cli.h"

#include <doctest/doctest.h>

#include <map>

#include "nn/evaluation/evaluation.h"
#include "nn/training/checkpoint.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

const std::string kKeys = "step,loss,val_loss,lr,grad_norm,tokens_per_s";

// Path within the folder -> content; of a symlink, where it points.
std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().lexically_relative(folder).string();
    if (entry.is_symlink()) {
      files[name] = "-> " + fs::read_symlink(entry.path()).string();
    } else if (entry.is_regular_file()) {
      files[name] = TempFolder::get(entry.path());
    }
  }
  return files;
}

std::string names_of(const std::map<std::string, std::string>& files) {
  std::string names;
  for (const auto& file : files) names += file.first + "\n";
  return names;
}

// The digits of a number as they stand in a line of JSON.
std::string digits_of(const std::string& line, const std::string& key) {
  const std::size_t at = line.find("\"" + key + "\":");
  if (at == std::string::npos) return "(none)";
  const std::size_t begin = at + key.size() + 3;
  return line.substr(begin, line.find_first_of(",}", begin) - begin);
}

std::string expected_generation(const std::string& name) {
  std::string files;
  for (const char* file :
       {"config.json", "model.safetensors", "optimizer.safetensors", "tokenizer.json", "trainer.json"})
    files += name + "/" + file + "\n";
  return files;
}

TEST_CASE("cli train: a run with its metrics, its generations and the loss that eval finds again") {
  for (const std::string precision : {"f32", "f64"}) {
    INFO(precision);
    const TempFolder folder;
    const Finished run =
        train_tiny(folder, "run", "--steps 30 --batch 8 --eval-every 10 --save-every 20 --precision " + precision);
    REQUIRE(run.code == 0);
    const auto files = contents(folder / "run");
    CHECK(names_of(files) ==
          "best\nlatest\nmetrics.jsonl\n" + expected_generation("step-20") + expected_generation("step-30"));
    CHECK(files.at("latest") == "-> step-30");
    CHECK(run.out == files.at("metrics.jsonl"));

    const std::vector<std::string> lines = lines_of(run.out);
    const std::vector<Json> logs = json_lines(run.out);
    REQUIRE(logs.size() == 30);
    for (std::size_t i = 0; i < logs.size(); ++i) {
      INFO(lines[i]);
      CHECK(keys_of(logs[i]) == kKeys);
      CHECK(logs[i]["step"] == i + 1);
      CHECK(logs[i]["val_loss"].is_null() == ((i + 1) % 10 != 0));
      CHECK(logs[i]["grad_norm"].get<double>() > 0);
      CHECK(logs[i]["tokens_per_s"].get<double>() > 0);
    }
    CHECK(logs[0]["lr"] == 0.005);  // half way through the warm-up
    CHECK(logs[29]["loss"].get<double>() < logs[0]["loss"].get<double>() - 0.3);
    CHECK(logs[29]["val_loss"].get<double>() < logs[9]["val_loss"].get<double>());

    CHECK(has(run.err, "\nstep 30/30  loss "));
    CHECK(has(run.err, "validation loss "));
    CHECK(run.err.find_first_of("\x1b\r") == std::string::npos);

    // The run's folder means its latest generation; the arithmetic is that of the training when nothing else is asked.
    const Arguments data{"--data", (folder / "text.txt").string()};
    for (const auto& [name, line] : {std::pair{"run", lines[29]}, std::pair{"run/step-20", lines[19]}}) {
      Arguments more = data;
      more.insert(more.end(), {"--checkpoint", (folder / name).string()});
      const Finished eval = mixgrad("eval --json --threads 2", more);
      CHECK(trouble(eval) == "");
      CHECK(digits_of(eval.out, "loss") == digits_of(line, "val_loss"));
    }
  }
}

TEST_CASE("cli train: without --json it ends with a sample on stdout") {
  const TempFolder folder;
  folder.put("text.txt", small_text());
  const Finished run = mixgrad("train --steps 2" + kTiny,
                               {"--data", (folder / "text.txt").string(), "--out", (folder / "run").string()});
  CHECK(run.code == 0);
  CHECK(run.out.size() == 1 + 400 + 1);  // a line end to begin with, the tokens, a line end
  CHECK(run.out.front() == '\n');
  CHECK(run.out.back() == '\n');
  CHECK(run.out.find_first_not_of(small_text()) == std::string::npos);
  CHECK(json_lines(TempFolder::get(folder / "run" / "metrics.jsonl")).size() ==
        1);  // the last step, whatever log-every
  CHECK(run.err.find_first_of("\x1b\r") == std::string::npos);
}

TEST_CASE("cli train: --stop-after ends early on the schedule of all steps") {
  const TempFolder folder;
  const Finished all = train_tiny(folder, "all", "--steps 6");
  const Finished part = train_tiny(folder, "part", "--steps 6 --stop-after 4");
  REQUIRE(all.code == 0);
  REQUIRE(part.code == 0);
  const std::vector<Json> a = json_lines(all.out);
  const std::vector<Json> b = json_lines(part.out);
  REQUIRE(b.size() == 4);
  for (std::size_t i = 0; i < b.size(); ++i) {
    for (const char* key : {"step", "loss", "lr", "grad_norm"}) CHECK(a[i][key] == b[i][key]);
  }
  CHECK(!b[3]["val_loss"].is_null());
  CHECK(fs::read_symlink(folder / "part" / "latest") == "step-4");
}

TEST_CASE("cli train: --checkpoint starts from its weights, and the checkpoint decides the model") {
  const TempFolder folder;
  const Finished first = train_tiny(folder, "first", "--steps 30 --batch 8");
  REQUIRE(first.code == 0);
  const auto again = [&](const std::string& name, const std::string& more) {
    return mixgrad("train --json --log-every 1 --batch 8 --threads 1 --steps 2 " + more,
                   {"--data", (folder / "text.txt").string(), "--out", (folder / name).string(), "--checkpoint",
                    (folder / "first").string()});
  };
  const auto before = contents(folder / "first");
  const Finished second = again("second", "--steps 2 --batch 8");
  REQUIRE(second.code == 0);
  const double start = json_lines(first.out)[0]["loss"].get<double>();
  CHECK(json_lines(second.out)[0]["loss"].get<double>() < start - 0.3);
  CHECK(contents(folder / "first") == before);
  CHECK(TempFolder::get(folder / "second/latest/config.json") == TempFolder::get(folder / "first/latest/config.json"));

  for (const std::string option : {"layers", "tokenizer", "bias", "norm-eps", "preset"}) {
    const Finished refused = again("third", "--" + option +
                                                (option == "tokenizer" ? " char"
                                                 : option == "preset"  ? " char"
                                                 : option == "bias"    ? " true"
                                                                       : " 1"));
    CHECK(not_refused(refused, 2) == "");
    CHECK(has(refused.err, "--" + option + " cannot be given here: the checkpoint of --checkpoint decides the model"));
    CHECK(!fs::exists(folder / "third"));
  }
}

TEST_CASE("cli train: a folder that holds a run is refused, and nothing in it changes") {
  const TempFolder folder;
  REQUIRE(train_tiny(folder, "run", "--steps 2").code == 0);
  const auto before = contents(folder / "run");
  const Finished refused = train_tiny(folder, "run", "--steps 3");
  CHECK(not_refused(refused, 2) == "");
  CHECK(has(refused.err, "holds a run already; choose another folder"));
  CHECK(contents(folder / "run") == before);

  fs::create_directory(folder / "half");
  folder.put("half/metrics.jsonl", "{\"step\":1}\n");  // of a run that ended before its first checkpoint
  CHECK(not_refused(train_tiny(folder, "half", "--steps 2"), 2) == "");
  CHECK(names_of(contents(folder / "half")) == "metrics.jsonl\n");
  CHECK(TempFolder::get(folder / "half/metrics.jsonl") == "{\"step\":1}\n");

  fs::create_directory(folder / "other");
  folder.put("other/notes.txt", "mine");  // a folder with something else in it is fine
  CHECK(train_tiny(folder, "other", "--steps 1").code == 0);
  CHECK(TempFolder::get(folder / "other/notes.txt") == "mine");
}

TEST_CASE("cli train: the same seed gives the same bytes at 1, 2 and 3 threads, another seed does not") {
  const TempFolder folder;
  const std::string options =
      "--steps 3 --d-model 32 --heads 4 --batch 6 --context 16 --mixer hsm:vector(heads=4),attention";
  const auto weights = [&](const std::string& name, const std::string& more) {
    const Finished run = train_tiny(folder, name, options + " --layers 2 " + more);
    CHECK(run.code == 0);
    return TempFolder::get(folder / name / "latest" / "model.safetensors");
  };
  const std::string one = weights("one", "--threads 1");
  CHECK(one.size() > 1000);
  CHECK(one == weights("two", "--threads 2"));
  CHECK(one == weights("three", "--threads 3"));
  CHECK(one != weights("other", "--threads 1 --seed 2"));
}

// The checkpoint that a run wrote has the loss that it printed, and these in its config.json.
void check_run(const TempFolder& folder, const std::string& options, const Json& expected) {
  static int number = 0;
  INFO(options);
  const std::string name = "run" + std::to_string(number++);
  const Finished run = train_tiny(folder, name, "--steps 3 " + options);
  INFO(run.err);
  REQUIRE(run.code == 0);
  const Json config = json_of(TempFolder::get(folder / name / "latest" / "config.json"));
  for (const auto& item : expected.items()) {
    INFO(item.key());
    CHECK(config[item.key()] == item.value());
  }
  const Checkpoint checkpoint = load_checkpoint(folder / name, DType::f32);
  const TokenData data = TokenData::open(folder / "text.txt", checkpoint.tokenizer);
  const double printed = json_lines(run.out).back()["val_loss"].get<double>();
  CHECK(evaluate(*checkpoint.model, data, data.valid()).loss == printed);
}

TEST_CASE("cli train: every form of a model trains, and its checkpoint reads back") {
  const TempFolder folder;
  const auto attention = [](int heads, int kv_heads) {
    return Json{{"mixer", "attention"}, {"heads", heads}, {"kv_heads", kv_heads}};
  };
  const auto hsm = [](const char* variant, const std::vector<int>& shifts) {
    return Json{{"mixer", "hsm"},   {"variant", variant}, {"heads", shifts.size()},
                {"shifts", shifts}, {"proj", "none"},     {"boundary", "zero"}};
  };
  check_run(folder, "--mixer attention --mlp gelu_erf --norm rmsnorm --positions learned --bias true --tie false",
            {{"layers", {attention(2, 2)}},
             {"mlp", "gelu_erf"},
             {"norm", "rmsnorm"},
             {"positions", "learned"},
             {"bias", true},
             {"tie_embeddings", false},
             {"vocab_size", 19},
             {"d_ff", 64}});
  check_run(folder, "--mixer hsm:scalar --mlp relu --positions none --bias true --layers 2",
            {{"layers", {hsm("scalar", {1}), hsm("scalar", {2})}}, {"mlp", "relu"}, {"positions", "none"}});
  check_run(folder, "--mixer hsm:vector(heads=4) --mlp swiglu --norm rmsnorm --tie false --vocab 64",
            {{"layers", {hsm("vector", {1, 2, 4, 1})}}, {"mlp", "swiglu"}, {"vocab_size", 64}});
  check_run(folder, "--mixer hsm:scalar,hsm:scalar,attention --layers 4 --d-ff 24 --heads 4 --kv-heads 2",
            {{"layers", {hsm("scalar", {1}), hsm("scalar", {2}), attention(4, 2), hsm("scalar", {4})}}, {"d_ff", 24}});
  check_run(folder, "--mixer attention(heads=8,kv_heads=1) --positions rope --norm-eps 1e-4 --rope-theta 500",
            {{"layers", {attention(8, 1)}}, {"norm_eps", 1e-4}, {"rope_theta", 500.0}});
  Json everything = hsm("scalar", {1, 2, 4, 8});
  everything["proj"] = "vo";
  everything["boundary"] = "self";
  check_run(folder,
            "--mixer hsm:scalar(heads=4,shifts=1|2|4|8,proj=vo,boundary=self) --tokenizer byte --accumulate 3 "
            "--schedule wsd --hsm-scale 0.5",
            {{"layers", {everything}}, {"vocab_size", 256}});
}

TEST_CASE("cli train: accumulation counts every micro-batch, and several bytes to a character are fine") {
  const TempFolder folder;
  std::string text;
  for (int i = 0; i < 40; ++i) text += "Grüße an Zoë \u2014 naïve \U0001F600\n";
  folder.put("text.txt", text);
  const Finished run = train_tiny(folder, "run", "--steps 2 --accumulate 2");
  CHECK(run.code == 0);
  const Json tokenizer = json_of(TempFolder::get(folder / "run/latest/tokenizer.json"));
  CHECK(tokenizer["type"] == "char");
  CHECK(tokenizer["vocab"].size() == 16);
  CHECK(tokenizer["vocab"].back() == "\U0001F600");
}

TEST_CASE("cli train: a loss that is not finite ends the run with exit code 1, and keeps what was saved") {
  const TempFolder folder;
  const Finished run = train_tiny(
      folder, "run", "--steps 40 --lr 1000 --min-lr 1000 --clip 1e9 --weight-decay 1000 --warmup 0 --save-every 1");
  CHECK(run.code == 1);
  const std::vector<std::string> lines = lines_of(run.err);
  REQUIRE(!lines.empty());
  CHECK(lines.back().starts_with("mixgrad: step "));
  CHECK(has(lines.back(), "must be finite"));
  for (const Json& log : json_lines(run.out)) CHECK(keys_of(log) == kKeys);
}

}  // namespace
}  // namespace mixgrad::test
