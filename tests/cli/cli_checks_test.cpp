// The verbs that check the library: ops, gradcheck, conform.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

#include "core/build.h"
#include "ops/cases/cases.h"
#include "ops/operators.h"
#include "tests/support/cli.h"

namespace mixgrad::test {
namespace {

const std::string kSource = MIXGRAD_SOURCE_DIR;
const std::string kCase = kSource + "/tests/conformance/hsm_scalar.safetensors";

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
  CHECK(has(table.out, "1 operator, " + std::to_string(rows.size() - 1) + " rows, 0 failed"));

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

TEST_CASE("cli: conform refuses what is not a case, and reports a difference by its exit code") {
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
  refused(folder.put("text.txt", small_text()).string(), 3, "damaged");
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
  // Its name is not UTF-8: JSON must show it nevertheless.
  const Finished run = mixgrad("conform --json --threads 1", {folder.put("wrong\xff.safetensors", wrong).string()});
  CHECK(run.code == 1);
  CHECK(run.err == "");
  CHECK(json_lines(run.out).at(0)["pass"] == false);
  CHECK(has(json_lines(run.out).at(0)["case"].get<std::string>(), "wrong\ufffd"));
}

}  // namespace
}  // namespace mixgrad::test
