// A checkpoint whose weights, or what they compute, are not finite: every verb that computes ends with one line that
// names the parameter, and prints no number.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "nn/files/safetensors.h"
#include "nn/model/generator.h"
#include "nn/modules/finite_values.h"
#include "nn/training/checkpoint.h"
#include "tests/support/reliability.h"

namespace mixgrad::test {
namespace {

namespace fs = std::filesystem;

constexpr double kNan = -std::numeric_limits<double>::quiet_NaN();  // texts show no sign
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Writes the tensors of a file anew, each as `change` leaves it.
void rewrite_tensors(const fs::path& path,
                     const std::function<void(const std::string& name, const Tensor& tensor)>& change) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  Metadata metadata;
  {
    const SafetensorsFile file = SafetensorsFile::open(path);
    for (const std::string& name : file.names()) {
      tensors.emplace_back(name, file.read(name).clone());
      change(name, tensors.back().second);
    }
    metadata = file.metadata();
  }
  std::erase_if(metadata, [](const auto& item) { return item.first.starts_with("xxh3:"); });
  write_safetensors(path, metadata, tensors);
}

void put_value(const fs::path& path, const std::string& parameter, std::int64_t at, double value) {
  rewrite_tensors(path, [&](const std::string& name, const Tensor& tensor) {
    if (name == parameter) tensor.set(at, value);
  });
}

// The verbs that read a checkpoint, with a model of softmax heads.
std::vector<Arguments> readers(const fs::path& checkpoint, const fs::path& text) {
  std::vector<Arguments> lines;
  for (const char* line :
       {"eval --threads 1 --data TEXT", "eval --threads 1 --data TEXT --json",
        "eval --threads 1 --data TEXT --split all", "generate --threads 1 --prompt the --tokens 5",
        "generate --threads 1 --prompt the --tokens 5 --temperature 0",
        "generate --threads 1 --prompt t --tokens 5 --top-k 3", "inspect attention --threads 1 --text the",
        "inspect attention --threads 1 --text the --json"}) {
    Arguments all = words(line);
    for (std::string& word : all) word = word == "TEXT" ? text.string() : word;
    all.insert(all.end(), {"--checkpoint", checkpoint.string()});
    lines.push_back(all);
  }
  return lines;
}

std::string command_text(const Arguments& line) {
  std::string text;
  for (const std::string& word : line) text += word + " ";
  return text;
}

}  // namespace

TEST_CASE("non-finite checkpoint: eval reads the stored type alone, whose numbers f32 need not hold") {
  const TempFolder folder;
  REQUIRE(run_program(tiny_run(folder, "run", "--steps 2 --precision f64")).code == 0);
  put_value(folder / "run/step-2/model.safetensors", "norm.weight", 0, 1e39);
  const std::string eval = "eval --threads 1 --data " + (folder / "text.txt").string();
  CHECK(trouble(mixgrad(eval, {"--checkpoint", (folder / "run").string()})) == "");
  const Finished narrow = mixgrad(eval + " --precision f32", {"--checkpoint", (folder / "run").string()});
  CHECK(not_refused(narrow, 3) == "");
  CHECK(has(narrow.err, "every parameter must be finite in f32; parameter norm.weight"));
}

TEST_CASE("non-finite checkpoint: every reader names the parameter and prints nothing") {
  const TempFolder folder;
  REQUIRE(run_program(tiny_run(folder, "run", "--steps 2")).code == 0);
  int number = 0;
  for (const auto& [parameter, at, value, word] :
       {std::tuple{"embed.weight", 3, kNan, "nan"}, std::tuple{"layers.0.norm1.weight", 0, kInfinity, "inf"},
        std::tuple{"layers.0.mlp.down.weight", 7, -kInfinity, "-inf"}}) {
    const fs::path bad = folder / ("bad" + std::to_string(number++));
    fs::copy(folder / "run/latest/", bad, fs::copy_options::recursive);
    put_value(bad / "model.safetensors", parameter, at, value);
    std::vector<Arguments> lines = readers(bad, folder / "text.txt");
    lines.push_back(words("inspect model --checkpoint " + bad.string()));
    lines.push_back(words("inspect tape --batch 2 --json --checkpoint " + bad.string()));
    lines.push_back(words("train --checkpoint " + bad.string() + " --data " + (folder / "text.txt").string() +
                          " --steps 2 --out " + (folder / "tuned").string()));
    lines.push_back(words("train --resume " + bad.string() + " --out " + (folder / "resumed").string()));
    for (const Arguments& line : lines) {
      const Finished run = run_program(line);
      INFO(command_text(line) << run.err << run.out);
      CHECK(not_refused(run, 3) == "");
      CHECK(run.out == "");
      CHECK(has(run.err, std::string("every parameter must be finite in f32; parameter ") + parameter + ", f32 ["));
      CHECK(has(run.err, "element " + std::to_string(at) + " is " + word + "; take another generation"));
    }
    CHECK_FALSE(holds_run(folder / "tuned"));
    CHECK_FALSE(holds_run(folder / "resumed"));
  }
}

TEST_CASE("non-finite checkpoint: a weight that is finite in the file and not in the type of the arithmetic") {
  const TempFolder folder;
  REQUIRE(run_program(tiny_run(folder, "run", "--steps 2 --precision f64")).code == 0);
  put_value(folder / "run/latest/model.safetensors", "embed.weight", 1, 1e300);
  const std::string run = (folder / "run").string();
  for (const char* precision : {"f32", "bf16"}) {
    const Finished refused =
        mixgrad(std::string("generate --prompt the --tokens 2 --precision ") + precision, {"--checkpoint", run});
    INFO(refused.err);
    CHECK(not_refused(refused, 3) == "");
    CHECK(has(refused.err, std::string("every parameter must be finite in ") + precision));
  }
}

TEST_CASE("non-finite checkpoint: finite weights whose logits are not end with a line, not with numbers") {
  const TempFolder folder;
  for (const auto& [name, factor, options] :
       {std::tuple{"attention", 1e18, ""}, std::tuple{"mamba", 1e18, "--mixer mamba(expand=1)"},
        std::tuple{"learned", 1e18, "--positions learned --norm rmsnorm --tie false"}}) {
    REQUIRE(run_program(tiny_run(folder, name, std::string("--steps 2 ") + options)).code == 0);
    const fs::path generation = fs::canonical(folder / name / "latest");
    rewrite_tensors(generation / "model.safetensors", [&, by = factor](const std::string&, const Tensor& tensor) {
      for (std::int64_t i = 0; i < tensor.numel(); ++i) tensor.set(i, tensor.at(i) * by);
    });
    for (const Arguments& line : readers(generation, folder / "text.txt")) {
      const Finished run = run_program(line);
      INFO(command_text(line) << run.err << run.out);
      CHECK(not_refused(run, 1) == "");
      CHECK(run.out == "");
      CHECK(has(run.err, " must be finite; found "));
      CHECK(has(run.err, "; every parameter is finite, and the largest parameter is "));
      CHECK(has(run.err, "e+18, element "));
    }
    if (std::string_view(name) == "mamba") continue;  // no softmax heads to convert
    for (const char* target : {"window", "shift"}) {
      const Finished run =
          mixgrad(std::string("convert --select fraction=0.5 --threads 1 --to ") + target,
                  {"--checkpoint", generation, "--data", folder / "text.txt", "--out", folder / "converted"});
      INFO(run.err << run.out);
      CHECK(not_refused(run, 1) == "");
      CHECK(run.out == "");
      CHECK(has(run.err, "convert: the loss must be finite; found "));
      CHECK_FALSE(fs::exists(folder / "converted"));
    }
  }
}

TEST_CASE("non-finite checkpoint: the optimizer's state is refused as well") {
  const TempFolder folder;
  REQUIRE(run_program(tiny_run(folder, "run", "--steps 4 --stop-after 2")).code == 0);
  put_value(folder / "run/latest/optimizer.safetensors", "embed.weight.m", 2, kNan);
  const Finished run = run_program(resumption(folder / "run", ""));
  CHECK(run.code == 3);
  CHECK(has(lines_of(run.err).back(),
            "the optimizer's state must be finite; element 2 of embed.weight.m is nan; take another generation"));
}

TEST_CASE("sampling: NaN and infinite logits are refused in every way of drawing; -inf is never drawn") {
  const std::vector<SamplingOptions> ways = {{.temperature = 0}, {}, {.top_k = 1}, {.top_k = 3}, {.top_p = 0.5}};
  for (const SamplingOptions& options : ways) {
    for (const double bad : {kNan, -kNan, kInfinity}) {
      for (std::size_t at = 0; at < 4; ++at) {
        std::vector<double> logits = {1, 2, 0, -1};
        logits[at] = bad;
        Rng rng(1);
        CHECK(has(error_of<NotFinite>([&] { sample_token(logits, options, rng); }),
                  "that of token " + std::to_string(at) + " is "));
      }
    }
    Rng rng(1);
    const std::vector<double> none(3, -kInfinity);
    CHECK(error_of<NotFinite>([&] { sample_token(none, options, rng); }) ==
          "sampling: at least one logit must be finite; found none among 3");
    CHECK_THROWS_AS(sample_token({}, options, rng), NotFinite);
    const std::vector<double> masked = {-kInfinity, 0, -kInfinity};
    for (int i = 0; i < 20; ++i) CHECK(sample_token(masked, options, rng) == 1);
  }
}

}  // namespace mixgrad::test
