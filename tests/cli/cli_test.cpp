// Above 400 lines by a few: one verb after another, each with its own output.
// The program as a whole, and the verbs that look: ops, gradcheck, conform, inspect.
#include "tests/support/cli.h"
#include "core/build.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "ops/cases/cases.h"
#include "ops/operators.h"

namespace mixgrad::test {
namespace {

const std::string kSource = MIXGRAD_SOURCE_DIR;
const std::string kCase = kSource + "/tests/conformance/hsm_scalar.safetensors";

const TempFolder& shared_folder() {
  static const TempFolder folder;
  if (!std::filesystem::exists(folder / "text.txt")) folder.put("text.txt", small_text());
  return folder;
}
const Arguments& data() {
  static const Arguments arguments{"--data", (shared_folder() / "text.txt").string()};
  return arguments;
}

// The part of `text` between two others.
std::string between(const std::string& text, const std::string& before, const std::string& after) {
  const std::size_t begin = text.find(before);
  if (begin == std::string::npos) return "(none)";
  const std::size_t end = text.find(after, begin + before.size());
  return text.substr(begin + before.size(), end - begin - before.size());
}

TEST_CASE("cli: the version tells commit and instruction set") {
  const Finished run = mixgrad("--version");
  CHECK(run.out == mixgrad("version").out);
  CHECK(trouble(run) == "");
  INFO(run.out);
  CHECK(lines_of(run.out).size() == 1);
  const std::string number = between(run.out, "mixgrad ", " (commit ");
  CHECK(number.find_first_not_of("0123456789.") == std::string::npos);
  CHECK(std::count(number.begin(), number.end(), '.') == 2);
  std::string commit = between(run.out, " (commit ", "), instruction set ");
  if (commit.ends_with("-dirty")) commit.resize(commit.size() - 6);
  const bool is_hash = commit.size() >= 7 && commit.find_first_not_of("0123456789abcdef") == std::string::npos;
  CHECK((is_hash || commit == "unknown"));  // unknown outside of a repository
  std::string instructions = between(run.out, "instruction set ", ", devices ");
  if (instructions.ends_with(" and AMX")) instructions.resize(instructions.size() - 8);
  CHECK(has("AVX-512,AVX2 and FMA,NEON,baseline", instructions));
  CHECK(has(run.out, ", devices cpu"));
}

TEST_CASE("cli: without arguments the help is printed, and it tells the exit codes") {
  const Finished run = mixgrad("");
  CHECK(trouble(run) == "");
  CHECK(run.out == mixgrad("--help").out);
  CHECK(run.out == mixgrad("help").out);
  CHECK(has(run.out, "Exit codes: 0 done, 1 a check failed, 2 wrong options, 3 bad input (data, checkpoint), 4"));
  REQUIRE(verb_names().size() >= 8);
  for (const std::string& verb : verb_names()) CHECK(has(run.out, "\n  " + verb + " "));
}

TEST_CASE("cli: the help of every verb has an example that parses") {
  for (const std::string& verb : verb_names()) {
    INFO(verb);
    const Finished help = mixgrad(verb + " --help");
    CHECK(trouble(help) == "");
    CHECK(has(help.out, "Exit codes: "));
    const std::size_t at = help.out.find("Example:\n  mixgrad ");
    REQUIRE(at != std::string::npos);
    std::string example = help.out.substr(at + std::string("Example:\n  mixgrad ").size());
    example = example.substr(0, example.find('\n'));
    CHECK(example.starts_with(verb));
    std::erase(example, '"');  // of a prompt without a blank
    const Finished parsed = mixgrad(example + " --print-config");
    CHECK(trouble(parsed) == "");
    CHECK(has(parsed.out, " = "));
  }
}

TEST_CASE("cli: unknown verbs and options are refused, and the nearest right one is named") {
  const auto refused = [](const std::string& line, const std::string& text) {
    INFO(line);
    const Finished run = mixgrad(line);
    CHECK(not_refused(run, 2) == "");
    INFO(run.err);
    CHECK(has(run.err, text));
    CHECK(run.out == "");
  };
  refused("trian", "unknown verb \"trian\"; did you mean \"train\"?");
  refused("--vershon", "did you mean --version?");
  refused("--json train", "a verb comes first");
  refused("train --bach 3", "unknown option \"--bach\"; did you mean --batch?");
  refused("train -batch 3", "did you mean --batch?");
  refused("train --out a eval", "unexpected argument \"eval\"");
  refused("train --out --json", "--out needs a value (DIR); got the option --json");
  refused("eval --data", "--data needs a value (FILE); got nothing");
  refused("help trian", "unknown verb \"trian\"; did you mean \"train\"?");
  refused("help train eval", "help: at most one verb can be given; got 2 words");
  refused("hlep", "did you mean \"help\"?");
  refused("version 2", "version: takes no argument; got \"2\"");
  refused("inspect model tape", "one word is required (model, tape, attention); got 2 words");
  refused("train --json=maybe --out a", "--json must be true or false; got \"maybe\"");
  refused("inspect", "as in mixgrad inspect model");
  refused("inspect modle", "did you mean \"model\"?");
  refused("bench trian", "did you mean \"train\"?");
}

TEST_CASE("cli: an option that is given twice is refused") {
  const auto refused = [](const std::string& line, const std::string& text) {
    const Finished run = run_program(words(line));
    CHECK(not_refused(run, 2) == "");
    INFO(run.err);
    CHECK(has(run.err, text));
  };
  refused("train --batch 3 --layers 1 --batch 4",
          "train: --batch must be given once; it was given 2 times, \"3\" and \"4\"; leave one out");
  refused("train --batch 3 --batch=3", "--batch must be given once");
  refused("ops --json --json", "--json must be given once");
  refused("eval --config a --config b", "--config must be given once");
  refused("bench train --seed 1 --seed 2 --seed 3", "--seed must be given once; it was given 3 times");
}

TEST_CASE("cli: the help of a verb is at most 100 columns wide, in groups, and the same by help VERB") {
  for (const std::string& verb : verb_names()) {
    INFO(verb);
    const Finished help = mixgrad(verb + " --help");
    CHECK(help.out == mixgrad("help " + verb).out);
    for (const std::string& line : lines_of(help.out)) CHECK_MESSAGE(line.size() <= 100, line);
  }
  for (const std::string& line : lines_of(mixgrad("help").out)) CHECK_MESSAGE(line.size() <= 100, line);
  const std::string help = mixgrad("help train").out;
  std::size_t last = 0;
  for (const std::string title : {"Run", "Data", "Model", "Optimisation", "Device", "General"}) {
    const std::size_t at = help.find("\n\n" + title + ":\n");
    CHECK_MESSAGE(at != std::string::npos, title);
    CHECK_MESSAGE(at > last, title);
    last = at;
  }
  CHECK(has(between(help, "\nRun:\n", "\nData:"), "\n  --resume DIR "));
  CHECK(has(between(help, "\nModel:\n", "\nOptimisation:"), "\n  --layers INT "));
  // A verb shows only options that it uses.
  CHECK_FALSE(has(mixgrad("help inspect").out, "--lr "));
  CHECK_FALSE(has(mixgrad("help bench").out, "--steps "));
  CHECK_FALSE(has(mixgrad("help generate").out, "--layers "));
  CHECK_FALSE(has(mixgrad("help ops").out, "--threads "));
}

TEST_CASE("cli: output that cannot be written is an error") {
  for (const std::string line : {"ops", "train --print-config", "gradcheck --op add --json --threads 1"}) {
    INFO(line);
    CHECK(not_refused(run_program(words(line), "/dev/full"), 4) == "");
  }
}

TEST_CASE("cli: ops lists every operator with its specification") {
  const Finished text = mixgrad("ops");
  CHECK(trouble(text) == "");
  std::vector<std::string> names;
  for (const std::string& line : lines_of(text.out)) {
    if (!line.empty() && line[0] != ' ') names.push_back(line);
  }
  const std::vector<Json> rows = json_lines(mixgrad("ops --json").out);
  REQUIRE(names.size() == kBuiltInOperators);
  REQUIRE(rows.size() == names.size());
  const std::string list =
      TempFolder::get(kSource + "/ops/op_list.def") + TempFolder::get(kSource + "/ops/elementwise/unary.def");
  for (std::size_t i = 0; i < names.size(); ++i) {
    const OpSpec& spec = *operators()[i];
    CHECK(names[i] == spec.name);
    CHECK((has(list, "\nOP(" + names[i] + ", ") || has(list, "\nUNARY(" + names[i] + ", ")));
    CHECK(keys_of(rows[i]) == "op,formula,gradient,saves");
    CHECK(rows[i]["op"] == spec.name);
    CHECK(rows[i]["formula"] == spec.formula);
    CHECK(has(text.out, std::string("gradient: ") + spec.gradient));
  }
}

TEST_CASE("cli: gradcheck of one operator: a row for each case and input, and a summary") {
  const Finished run = mixgrad("gradcheck --op relu --json --threads 1");
  CHECK(trouble(run) == "");
  const std::vector<Json> rows = json_lines(run.out);
  REQUIRE(rows.size() >= 2);
  double worst = 0;
  for (std::size_t i = 0; i + 1 < rows.size(); ++i) {
    CHECK(keys_of(rows[i]) == "op,case,input,device,dtype,max_rel_err,pass");
    CHECK(rows[i]["op"] == "relu");
    CHECK(rows[i]["device"] == "cpu");
    CHECK(rows[i]["dtype"] == "f64");
    CHECK(rows[i]["pass"] == true);
    worst = std::max(worst, rows[i]["max_rel_err"].get<double>());
  }
  const Json& summary = rows.back();
  CHECK(keys_of(summary).starts_with("summary,ops,rows,failed,worst"));
  CHECK(summary["summary"] == true);
  CHECK(summary["ops"] == 1);
  CHECK(summary["rows"] == rows.size() - 1);
  CHECK(summary["failed"] == 0);
  CHECK(summary["worst"].get<double>() >= 0);
  CHECK(summary["worst"].get<double>() <= worst);
  CHECK(worst < 1e-7);

  const Finished table = mixgrad("gradcheck --op relu --threads 1");
  CHECK(trouble(table) == "");
  CHECK(std::ranges::count_if(lines_of(table.out), [](const std::string& line) { return has(line, " cpu f64 "); }) ==
        static_cast<std::ptrdiff_t>(rows.size()));  // its rows and the matrix's title
  CHECK(has(table.out, "1 operators, " + std::to_string(rows.size() - 1) + " rows, 0 failed"));

  const Finished unknown = mixgrad("gradcheck --op rleu");
  CHECK(not_refused(unknown, 2) == "");
  CHECK(has(unknown.err, "did you mean \"relu\"?"));
}

// The words of the line that begins with `first`.
Arguments line_with(const std::string& text, const std::string& first) {
  for (const std::string& line : lines_of(text)) {
    if (line.starts_with(first + " ")) return words(line.substr(first.size()));
  }
  return {};
}

TEST_CASE("cli: gradcheck ends with a matrix operator x device x dtype that shows what was not run") {
  const Finished part = mixgrad("gradcheck --op linear --threads 1");
  CHECK(trouble(part) == "");
  const std::vector<Json> rows = json_lines(mixgrad("gradcheck --op linear --json --threads 1").out);
  const std::string count = std::to_string(rows.size() - 1);
  Arguments want{count + "/" + count, "-", "-"};
  const Arguments here = build::has_cuda ? Arguments{"cpu", "f64", "cpu", "f32", "cpu", "bf16", "cuda:0", "f64"}
                                         : Arguments{"cpu", "f64", "cpu", "f32", "cpu", "bf16"};
  if (build::has_cuda) want.insert(want.end(), {"-", "-", "-"});
  const Arguments title = line_with(part.out, "    ");
  REQUIRE(title.size() >= here.size());
  CHECK(Arguments(title.begin(), title.begin() + static_cast<std::ptrdiff_t>(here.size())) == here);
  CHECK(line_with(part.out, "all") == want);
  CHECK(has(part.out, "not run: " + std::to_string(kBuiltInOperators - 1) + " of " + std::to_string(kBuiltInOperators) +
                          " operators"));
  CHECK(has(part.out, "not run: the dtypes with -"));
  CHECK(has(part.out, build::has_cuda ? "not run: the devices with -" : "not run: cuda, which this build does not"));
  const Json matrix = rows.back()["matrix"];
  REQUIRE(matrix.size() == (build::has_cuda ? 6 : 3));
  for (std::size_t i = 0; i < matrix.size(); ++i) {
    CHECK(keys_of(matrix[i]) == "op,device,dtype,rows,failed,worst");
    CHECK(matrix[i]["op"] == "linear");
    CHECK(matrix[i]["dtype"] == std::vector<std::string>{"f64", "f32", "bf16"}[i % 3]);
    CHECK(matrix[i]["rows"] == (i == 0 ? rows.size() - 1 : 0));
    CHECK(matrix[i]["failed"] == 0);
    CHECK(matrix[i]["worst"].is_null() == (i > 0));
  }
  CHECK(matrix[0]["worst"] == rows.back()["worst"]);
}

TEST_CASE("cli: gradcheck in f32 and bf16 compares with the gradient in f64") {
  const Finished run = mixgrad("gradcheck --op linear --dtype bf16,f32 --json --threads 1");
  CHECK(trouble(run) == "");
  const std::vector<Json> rows = json_lines(run.out);
  int of_f32 = 0;
  int of_bf16 = 0;
  double coarsest = 0;  // of bf16
  for (std::size_t i = 0; i + 1 < rows.size(); ++i) {
    const double error = rows[i]["max_rel_err"];
    CHECK(rows[i]["pass"] == true);
    if (rows[i]["dtype"] == "f32") {
      ++of_f32;
      CHECK(error < 1e-4);
    } else {
      CHECK(rows[i]["dtype"] == "bf16");
      ++of_bf16;
      CHECK(error < 5e-2);
      coarsest = std::max(coarsest, error);
    }
  }
  CHECK(of_f32 > 10);
  CHECK(of_bf16 == of_f32);
  CHECK(coarsest > 1e-3);                        // it is bf16 that was run
  CHECK(rows.back()["matrix"][0]["rows"] == 0);  // f64
  CHECK(rows.back()["matrix"][1]["rows"] == of_f32);
  CHECK(rows.back()["matrix"][2]["rows"] == of_bf16);
  const auto refused = [](const std::string& options, const std::string& text) {
    const Finished refusal = mixgrad("gradcheck --op relu " + options);
    CHECK(not_refused(refusal, 2) == "");
    INFO(refusal.err);
    CHECK(has(refusal.err, text));
    CHECK(refusal.out == "");
  };
  refused("--dtype f16", "--dtype must be one of f64, f32, bf16");
  refused("--dtype f64,f64", "--dtype: each must stand once; got \"f64\" again");
  refused("--device cpu,gpu", "device: must be cpu, cuda or cuda:N");
  if (!build::has_cuda) refused("--device cpu,cuda", "this build has the device cpu only, got cuda:0");
}

TEST_CASE("cli: conform compares with a case") {
  REQUIRE(std::filesystem::exists(kCase));
  for (const std::string precision : {"f64", "f32"}) {
    const Finished run = mixgrad("conform --json --threads 1 --precision " + precision, {kCase, kCase});
    CHECK(trouble(run) == "");
    const std::vector<Json> rows = json_lines(run.out);
    REQUIRE(rows.size() == 2);
    CHECK(keys_of(rows[0]) == "case,device,precision,logits,loss,grad,step_losses,after,decode,probes,pass");
    CHECK(rows[0] == rows[1]);
    CHECK(rows[0]["case"] == "hsm_scalar");
    CHECK(rows[0]["device"] == "cpu");
    CHECK(rows[0]["precision"] == precision);
    CHECK(rows[0]["pass"] == true);
    CHECK(rows[0]["logits"].get<double>() < (precision == "f64" ? 1e-9 : 2e-5));
    CHECK(rows[0]["probes"].is_null());  // no softmax layer, nothing to probe
  }
  const Finished table = mixgrad("conform --threads 1", {kCase});
  CHECK(trouble(table) == "");
  CHECK(has(table.out, "hsm_scalar                   ok "));
  CHECK(has(table.out, "1 of 1 case passes in f64"));
}

TEST_CASE("cli: conform refuses what is no case, and tells a difference by its exit code") {
  const TempFolder folder;
  const std::string content = TempFolder::get(kCase);
  const auto refused = [](const std::string& path, int code, const std::string& text) {
    const Finished run = mixgrad("conform --json --threads 1", {path});
    CHECK(not_refused(run, code) == "");
    INFO(run.err);
    CHECK(has(run.err, path));
    CHECK(has(run.err, text));
    CHECK(run.out == "");
    const Finished among = mixgrad("conform --json --threads 1", {kCase, path, kCase});  // the others are compared
    CHECK(not_refused(among, code) == "");
    CHECK(json_lines(among.out).size() == 2);
  };
  refused((folder / "missing").string(), 4, "No such file");
  refused(folder.put("cut", content.substr(0, content.size() - 100)).string(), 3, "truncated");
  refused((shared_folder() / "text.txt").string(), 3, "damaged");
  refused(folder.put("other.safetensors", std::string("\x02\0\0\0\0\0\0\0{}", 10)).string(), 3,
          "is this a conformance case?");

  std::string foreign = content;  // its first token is none of the vocabulary
  std::uint64_t header = 0;
  std::memcpy(&header, content.data(), sizeof header);
  const Json tensors = json_of(content.substr(8, header));
  foreign[8 + header + tensors["in.tokens"]["data_offsets"][0].get<std::size_t>() + 2] = 1;
  refused(folder.put("foreign.safetensors", foreign).string(), 3,
          "this case cannot be run: embedding: tokens must be in");

  std::string wrong = content;  // one bit of the last tensor's last number: its exponent
  wrong[wrong.size() - 1] = static_cast<char>(wrong[wrong.size() - 1] ^ 0x40);
  // Its name is no UTF-8: JSON must show it all the same.
  const Finished run = mixgrad("conform --json --threads 1", {folder.put("wrong\xff.safetensors", wrong).string()});
  CHECK(run.code == 1);
  CHECK(run.err == "");
  CHECK(json_lines(run.out).at(0)["pass"] == false);
  CHECK(has(json_lines(run.out).at(0)["case"].get<std::string>(), "wrong\ufffd"));
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

  CHECK(has(text.out, "\nlayer 0 hsm scalar, shifts 1"));
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
    if (line->starts_with("    ")) {  // goes on
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

}  // namespace
}  // namespace mixgrad::test
