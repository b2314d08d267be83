// mixgrad sweep: runs of train for every choice of options, and their comparison.
#include "apps/sweep/sweep.h"

#include <cstdio>

#include "apps/output/error_line.h"
#include "apps/output/table.h"
#include "apps/report/comparison.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "core/text/plural.h"

namespace mixgrad::app {
namespace {

class SweepVerb : public Verb {
 public:
  std::string summary() const override { return "Train every choice of several options, then compare the runs"; }
  std::string example() const override { return "mixgrad sweep --config sweep.toml --out runs/mixers --jobs 2"; }

  void declare(OptionSet& options) override {
    options.read_own_config(config_, "TOML file with options of train; an array makes a run of each of its values");
    options.add("out", out_, "Folder of the runs; a sweep that was stopped is continued there",
                {.value = "DIR", .not_empty = true});
    options.add("jobs", jobs_, {1, 256}, "Runs at a time");
    options.add("baseline", baseline_, "The run to whose row of the table differences are taken; without it the first",
                {.value = "RUN", .not_empty = true});
    options.add_flag("dry-run", dry_run_, "Print the runs with their minutes and memory, and stop");
    options.add("format", format_, format_names(), "How tables are printed");
  }

  int run() override {
    if (config_.empty()) raise<ValueError>("sweep: --config FILE is required: the options of the runs");
    if (out_.empty()) raise<ValueError>("sweep: --out DIR is required: the folder of the runs");
    OptionSet of_bench;
    const std::unique_ptr<Verb> bench = verbs::bench();
    bench->declare(of_bench);
    const std::vector<std::string> names = of_bench.names();
    const Sweep sweep({.config = config_, .out = out_, .jobs = jobs_, .of_bench = {names.begin(), names.end()}});
    if (dry_run_) return print_costs(sweep);
    sweep.check();
    const std::vector<std::string> failed = sweep.run();
    std::vector<std::string> paths;
    for (const SweepRun& one : sweep.runs()) {
      if (sweep.is_done(one)) paths.push_back(sweep.folder(one));
    }
    if (!paths.empty()) {
      const std::vector<RunRecord> runs = read_runs(paths);
      const RunComparison comparison = compare_runs(runs, baseline_);
      Table table = comparison_table(comparison, format_named(format_));
      table.finish();
      if (!comparison.note.empty()) say("note: " + comparison.note);
    }
    if (failed.empty()) return kOk;
    return fail(kCheckFailed, count_text(static_cast<std::int64_t>(failed.size()), "run") + " of the sweep failed: " +
                                  join(failed) + "; give the same command again to try them once more");
  }

 private:
  int print_costs(const Sweep& sweep) const {
    const std::vector<SweepCost> costs = sweep.costs();
    Table table(format_named(format_), {{.key = "run"},
                                        {.key = "state"},
                                        {.key = "minutes", .number = true, .format = "%.2f"},
                                        {.key = "peak_bytes", .title = "MiB", .number = true}});
    double minutes = 0;
    for (std::size_t i = 0; i < costs.size(); ++i) {
      const SweepRun& one = sweep.runs()[i];
      char mebibytes[32];
      std::snprintf(mebibytes, sizeof mebibytes, "%.1f", static_cast<double>(costs[i].bytes) / (1 << 20));
      const bool done = sweep.is_done(one);
      if (!done && costs[i].minutes > 0) minutes += costs[i].minutes;
      table.add({one.name,
                 done ? "done" : "to do",
                 costs[i].minutes < 0 ? TableCell(nlohmann::ordered_json()) : TableCell(costs[i].minutes),
                 {costs[i].bytes, mebibytes}});
    }
    table.finish();
    char text[96];
    std::snprintf(text, sizeof text,
                  "%.1f minutes of training are left, one run after another; evaluations not counted", minutes);
    say(text);
    return kOk;
  }

  std::string config_, out_, baseline_, format_ = "table";
  std::int64_t jobs_ = 1;
  bool dry_run_ = false;
};

}  // namespace

std::unique_ptr<Verb> verbs::sweep() { return std::make_unique<SweepVerb>(); }

}  // namespace mixgrad::app
