// train --plan against what is then measured, and runs that get too little memory.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>

#include "core/build.h"
#include "core/device.h"
#include "nn/files/generations.h"
#include "tests/support/reliability.h"

namespace mixgrad::test {
namespace {

// "tensors took at most 39.1 MiB" at the end of a run, in bytes.
double measured_bytes(const std::string& text) {
  const std::size_t at = text.find("tensors took at most ");
  if (at == std::string::npos) return 0;
  double value = 0;
  char unit[8] = "";
  std::sscanf(text.c_str() + at, "tensors took at most %lf %7s", &value, unit);
  return value * std::pow(1024, unit[0] == 'K' ? 1 : unit[0] == 'M' ? 2 : unit[0] == 'G' ? 3 : 0);
}

TEST_CASE("reliability: train --plan is within 5 % of what the run takes") {
  const TempFolder folder;
  folder.put("text.txt", small_text() + small_text());
  const std::vector<std::string> configurations{
      "--layers 2 --d-model 64 --heads 4 --context 64 --batch 12",
      "--layers 2 --d-model 64 --heads 4 --context 64 --batch 1",
      "--layers 1 --d-model 128 --heads 4 --context 32 --batch 7 --accumulate 3",
      "--layers 2 --d-model 32 --heads 2 --context 256 --batch 5 --mixer hsm:scalar",
      "--layers 3 --d-model 48 --heads 4 --context 50 --batch 9 --mixer hsm:vector(heads=4,proj=vo),attention",
      "--layers 2 --d-model 64 --heads 4 --context 32 --batch 6 --precision f64",
      "--layers 2 --d-model 64 --heads 4 --kv-heads 1 --context 100 --batch 13 --mlp swiglu --norm rmsnorm",
      "--layers 2 --d-model 64 --heads 4 --context 64 --batch 10 --positions learned --bias true --tie false",
      "--layers 1 --d-model 32 --heads 2 --context 16 --batch 64 --tokenizer byte",
      "--layers 1 --d-model 32 --heads 2 --context 64 --batch 100 --tokenizer byte",
      "--layers 1 --d-model 16 --heads 2 --context 128 --batch 40 --vocab 5000",
      "--layers 1 --d-model 64 --heads 2 --context 32 --batch 3 --vocab 50257",
      "--layers 6 --d-model 32 --heads 2 --context 32 --batch 33",
      "--layers 2 --d-model 64 --heads 1 --context 300 --batch 4",
      "--layers 2 --d-model 96 --heads 6 --context 48 --batch 21 --mlp relu",
      "--layers 4 --d-model 32 --heads 4 --context 24 --batch 50 --mixer hsm:scalar(heads=4,proj=v)",
      "--layers 1 --d-model 8 --heads 1 --context 8 --batch 200",
      "--layers 2 --d-model 64 --heads 4 --context 64 --batch 2 --d-ff 1000",
      "--layers 2 --d-model 128 --heads 4 --context 128 --batch 3",
      "--layers 3 --d-model 40 --heads 5 --context 77 --batch 11 --positions none --mlp gelu_erf",
      "--layers 2 --d-model 128 --heads 4 --context 16 --batch 2 --accumulate 2 --reduce-order rank",
  };
  double worst = 0;
  int count = 0;
  for (std::size_t i = 0; i < configurations.size(); i += static_cast<std::size_t>(times(5, 1))) {
    INFO(configurations[i]);
    Arguments options = words("train --json --threads 2 --steps 3 --eval-every 2 " + configurations[i]);
    options.insert(options.end(), {"--data", (folder / "text.txt").string()});
    Arguments plan = options;
    plan.emplace_back("--plan");
    const Finished planned = Process(folder, plan).wait(100);
    INFO(planned.err);
    REQUIRE(planned.code == 0);
    CHECK(planned.err.empty());
    const Json bytes = json_of(planned.out);
    options.insert(options.end(), {"--out", (folder / ("run" + std::to_string(i))).string()});
    const Finished run = Process(folder, options).wait(100);
    INFO(run.err);
    REQUIRE(run.code == 0);
    const double peak = bytes["peak"].get<double>();
    CHECK(bytes["parameters"].get<double>() + bytes["gradients"].get<double>() + bytes["optimizer"].get<double>() +
              bytes["activations"].get<double>() ==
          peak);
    CHECK(bytes["reserved"].get<double>() >= peak);
    const double error = std::abs(peak / measured_bytes(run.err) - 1);
    CHECK(error < 0.05);
    worst = std::max(worst, error);
    ++count;
  }
  char text[100];
  std::snprintf(text, sizeof text, "%d configurations, at most %.2f %% off the measured peak", count, 100 * worst);
  figure("train --plan", text);
}

TEST_CASE("reliability: train --plan prints a table and writes nothing") {
  const TempFolder folder;
  folder.put("text.txt", small_text());
  const Finished plan = mixgrad("train --plan" + kTiny, {"--data", (folder / "text.txt").string()});
  CHECK(trouble(plan) == "");
  for (const char* row : {"parameters ", "gradients ", "optimizer ", "activations ", "peak ", "free ", "checkpoint "}) {
    CHECK(has("\n" + plan.out, std::string("\n") + row));
  }
  CHECK(folder.file_count() == 1);
  REQUIRE(train_tiny(folder, "run", "--steps 2").code == 0);
  const Finished again = run_program(resumption(folder / "run", "--plan"));
  CHECK(trouble(again) == "");
  CHECK(json_of(again.out)["peak"].get<double>() > 0);
}

TEST_CASE("reliability: too little memory ends with its message, and the last checkpoint stands") {
  if (kSanitized) return;  // a sanitizer reserves far more, and ends the process itself
  if constexpr (build::has_cuda) {
    std::fputs("ABSENT: CUDA's libraries alone take more address space than these limits; preset cpu tests them\n",
               stderr);
    return;
  }
  const TempFolder folder;
  const std::string options = "--d-model 256 --context 128 --layers 2 --batch 8 --save-every 1 --eval-every 0";
  folder.put("text.txt", small_text());
  REQUIRE(run_program(tiny_run(folder, "run", options + " --steps 2 --stop-after 1")).code == 0);
  const int runs = times(4, 20);
  int clean = 0;
  int refused = 0;
  for (int i = 0; i < runs; ++i) {
    ProcessSetting setting;
    setting.memory_bytes = (rlim_t{40} + static_cast<rlim_t>(i * 160 / runs)) << 20U;
    const std::filesystem::path copy = folder / "copy";
    std::filesystem::remove_all(copy);
    std::filesystem::copy(folder / "run", copy,
                          std::filesystem::copy_options::recursive | std::filesystem::copy_options::copy_symlinks);
    CAPTURE(setting.memory_bytes >> 20U);
    Process process(folder, resumption(copy, ""), setting);
    const Finished finished = process.wait(30);
    INFO(finished.err);
    CHECK(damage(copy) == "");
    CHECK(weights_of(copy).size() == weights_of(folder / "run").size());
    if (finished.code == 0) {
      ++clean;
      continue;
    }
    CHECK(finished.code == 4);
    const bool pool = has(finished.err, "out of memory on cpu: ") && has(finished.err, "the largest: ") &&
                      has(finished.err, "are intact; try again with more free memory");
    // Outside the pool: a file that cannot be mapped, a packing buffer, scratch memory of a thread, bookkeeping.
    const bool other = has(finished.err, "Cannot allocate memory") || has(finished.err, "a packing buffer needs ") ||
                       has(finished.err, "scratch memory of a thread: needs ") || has(finished.err, "out of memory; ");
    CHECK((pool || other));
    CHECK(generations(copy).back() == 1);
    if (finished.code == 4) ++refused;
  }
  CHECK(clean + refused == runs);
  CHECK(refused > 0);
  figure("ulimit -v from 40 to 200 MiB", std::to_string(runs) + " runs: " + std::to_string(refused) +
                                             " ended with the message and exit code 4, " + std::to_string(clean) +
                                             " had enough; the last checkpoint stood in all");
}

}  // namespace
}  // namespace mixgrad::test
