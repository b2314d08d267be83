// mixgrad report: one HTML file of several runs.
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "apps/generation/continuation.h"
#include "apps/generation/prompt.h"
#include "apps/output/error_line.h"
#include "apps/output/version.h"
#include "apps/report/report_page.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "core/text/plural.h"
#include "nn/files/file.h"
#include "nn/files/generations.h"
#include "nn/model/generator.h"
#include "nn/training/checkpoint.h"

namespace mixgrad::app {
namespace {

namespace fs = std::filesystem;

class Report : public Verb {
 public:
  std::string summary() const override { return "One HTML file of runs: curves, comparison, configuration, samples"; }
  std::string example() const override { return "mixgrad report runs/char runs/hsm --out report.html"; }

  void declare(OptionSet& options) override {
    options.add_files("RUN", runs_, "Folders of runs");
    options.add("out", out_, "The page; a file that is there is replaced", {.value = "FILE", .not_empty = true});
    options.add("svg", svg_, "Also write the curves as SVG files into this folder",
                {.value = "DIR", .not_empty = true});
    options.add("title", title_, "Title of the page", {.not_empty = true});
    options.add("baseline", baseline_, "The run to which differences are taken; without it the first",
                {.value = "RUN", .not_empty = true});
    options.add("sample-tokens", sample_tokens_, kCountOrNone,
                "Tokens of a sample of each stored generation, at most five of a run; 0 = no samples");
  }

  int run() override {
    if (out_.empty()) raise<ValueError>("report: --out FILE is required: the page to write");
    const std::vector<RunRecord> runs = read_runs(runs_);
    const RunComparison comparison = compare_runs(runs, baseline_);
    ReportContents contents{.title = title_,
                            .made = "Made by " + version_text() + " from " +
                                    count_text(static_cast<std::int64_t>(runs.size()), "run") + ".",
                            .runs = &runs,
                            .comparison = &comparison,
                            .samples = {},
                            .environment = environment(runs)};
    if (sample_tokens_ > 0) contents.samples = samples(runs);
    const std::string page = report_page(contents);
    write_file_atomic(out_, page);
    if (!svg_.empty()) write_curves(runs);
    std::printf("%s: %s, %zu bytes\n", out_.c_str(), count_text(static_cast<std::int64_t>(runs.size()), "run").c_str(),
                page.size());
    return kOk;
  }

 private:
  void write_curves(const std::vector<RunRecord>& runs) const {
    fs::create_directories(svg_);
    for (const RunMetric& metric : run_metrics()) {
      write_file_atomic(fs::path(svg_) / (std::string(metric.key) + ".svg"),
                        svg_chart_file(metric_series(runs, metric), {"steps", metric.title}, Scale::linear));
    }
  }

  static std::string environment(const std::vector<RunRecord>& runs) {
    std::string text;
    for (const RunRecord& run : runs) {
      const auto option = [&](const char* name) {
        const auto found = run.options.find(name);
        return found == run.options.end() || found->second.empty() ? std::string("-") : found->second;
      };
      text += run.name + ": step " + std::to_string(run.step) + " of " + std::to_string(run.steps) + ", data " +
              option("data") + ", tokenizer " + option("tokenizer") + ", precision " + option("precision") +
              ", products in " + option("matmul-precision") + ", seed " + option("seed");
      if (run.foreign_lines > 0) {
        text +=
            "; " + count_text(run.foreign_lines, "line") + " of metrics.jsonl that the program did not write left out";
      }
      text += "\n";
    }
    return text;
  }

  // What a generation writes without a prompt, at temperature 0.8 with seed 1.
  std::vector<RunSample> samples(const std::vector<RunRecord>& runs) const {
    constexpr std::size_t kMost = 5;
    std::vector<RunSample> all;
    for (const RunRecord& run : runs) {
      const fs::path folder = run_of(find_generation(run.path)).value_or(run.path);
      std::vector<std::int64_t> steps = generations(folder);
      steps.erase(std::remove_if(steps.begin(), steps.end(), [&](std::int64_t step) { return step > run.step; }),
                  steps.end());
      while (steps.size() > kMost) steps.erase(steps.begin() + static_cast<std::ptrdiff_t>(steps.size() / 2));
      for (const std::int64_t step : steps) {
        const Checkpoint checkpoint = load_checkpoint(folder / generation_name(step), {DType::f32, kCpu});
        all.push_back({run.name, step, sample_of(checkpoint)});
      }
    }
    return all;
  }

  // Data that are no text, such as codes of sound, have no sample.
  std::string sample_of(const Checkpoint& checkpoint) const {
    const Tokenizer& tokenizer = *checkpoint.tokenizer;
    Generator generator(*checkpoint.model, tokenizer.vocab_size(), {.temperature = 0.8}, 1);
    const Prompt start = default_prompt(tokenizer);
    generator.prompt(start.tokens);
    const StopTexts none({}, tokenizer);
    Continuation continuation(tokenizer, start.tokens, none, sample_tokens_, start.hidden);
    while (!continuation.ended()) continuation.next({.id = generator.next()});
    return continuation.text();
  }

  std::vector<std::string> runs_;
  std::string out_, svg_, baseline_, title_ = "Training runs";
  std::int64_t sample_tokens_ = 200;
};

}  // namespace

std::unique_ptr<Verb> verbs::report() { return std::make_unique<Report>(); }

}  // namespace mixgrad::app
