// mixgrad study: a trained model, its conversions and their continued training, side by side.
#include "apps/study/study_plan.h"

#include <cstdio>

#include "apps/output/error_line.h"
#include "apps/study/study_report.h"
#include "apps/study/study_runner.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/text/plural.h"
#include "core/text/suggest.h"

namespace mixgrad::app {
namespace {

class StudyVerb : public Verb {
 public:
  std::string summary() const override {
    return "Convert a trained model in several ways, train each on, and compare: quality, cache, time";
  }
  std::string example() const override { return "mixgrad study recurformer --config study.toml --out runs/study"; }

  void declare(OptionSet& options) override {
    options.add_choice(what_, {{"recurformer", "softmax heads become Mamba heads, windows or shift heads"}});
    options.read_own_config(config_, "TOML file: checkpoint, variants, fractions, seeds, and options of train");
    options.add("out", out_, "Folder of the study; one that was stopped is continued there",
                {.value = "DIR", .not_empty = true});
    options.add("jobs", jobs_, {1, 256}, "Rows at a time");
    options.add_flag("dry-run", dry_run_, "Print the command of each row, and stop");
  }

  int run() override {
    if (config_.empty()) raise<ValueError>("study: --config FILE is required: what is to be compared");
    if (out_.empty()) raise<ValueError>("study: --out DIR is required: the folder of the study");
    const StudyPlan plan = read_study(config_, out_, jobs_);
    if (dry_run_) {
      for (const StudyRow& row : plan.rows) std::printf("%s: %s\n", row.name.c_str(), study_command(row).c_str());
      return kOk;
    }
    StudyRunner runner(plan, out_, jobs_);
    runner.check();
    const std::vector<std::string> failed = runner.run();
    const StudyReport report = collect(plan, runner);
    if (!report.results.empty()) {
      write_report(report, out_);
      std::fputs(means_markdown(report).c_str(), stdout);
      say("tables and figures are in " + out_ + ": study.md, study.csv, results.json, loss.svg, time.svg, cache.svg");
    }
    if (failed.empty()) return kOk;
    return fail(kCheckFailed, count_text(static_cast<std::int64_t>(failed.size()), "row") + " of the study failed: " +
                                  join(failed) + "; give the same command again to try them once more");
  }

 private:
  std::string what_, config_, out_;
  std::int64_t jobs_ = 1;
  bool dry_run_ = false;
};

}  // namespace

std::unique_ptr<Verb> verbs::study() { return std::make_unique<StudyVerb>(); }

}  // namespace mixgrad::app
