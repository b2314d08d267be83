// mixgrad compare: runs side by side, with intervals over seeds.
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "apps/output/error_line.h"
#include "apps/report/comparison.h"
#include "apps/report/tensorboard.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "nn/files/file.h"

namespace mixgrad::app {
namespace {

class Compare : public Verb {
 public:
  std::string summary() const override { return "Runs side by side: losses with intervals over seeds, cost, time"; }
  std::string example() const override { return "mixgrad compare runs/char-1 runs/char-2 runs/hsm-1 runs/hsm-2"; }

  void declare(OptionSet& options) override {
    options.add_files("RUN", runs_, "Folders of runs; those that differ by their seed alone are one row");
    options.add("baseline", baseline_, "The run to whose row differences are taken; without it the first",
                {.value = "RUN", .not_empty = true});
    options.add("tensorboard", tensorboard_,
                "Also write the metrics of each run into this folder, as event files that TensorBoard reads",
                {.value = "DIR", .not_empty = true});
    options.add("format", format_, format_names(), "How the table is printed");
  }

  int run() override {
    const std::vector<RunRecord> runs = read_runs(runs_);
    const RunComparison comparison = compare_runs(runs, baseline_);
    if (!tensorboard_.empty()) write_events(runs);
    Table table = comparison_table(comparison, format_named(format_));
    table.finish();
    if (!comparison.note.empty()) say("note: " + comparison.note);
    if (!comparison.validation) say("note: a run without evaluations has the loss of its last step");
    return kOk;
  }

 private:
  // DIR/NAME/events.out.tfevents.0.mixgrad for each run; a name with slashes gets underscores.
  void write_events(const std::vector<RunRecord>& runs) const {
    for (const RunRecord& run : runs) {
      std::string name = run.name;
      std::replace(name.begin(), name.end(), '/', '_');
      const std::filesystem::path folder = std::filesystem::path(tensorboard_) / name;
      std::filesystem::create_directories(folder);
      write_file_atomic(folder / "events.out.tfevents.0.mixgrad", tensorboard_events(run));
    }
  }

  std::vector<std::string> runs_;
  std::string tensorboard_, baseline_, format_ = "table";
};

}  // namespace

std::unique_ptr<Verb> verbs::compare() { return std::make_unique<Compare>(); }

}  // namespace mixgrad::app
