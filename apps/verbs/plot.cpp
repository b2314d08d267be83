// mixgrad plot: the curves of runs in the terminal.
#include <unistd.h>
#include <cstdio>

#include "apps/output/terminal.h"
#include "apps/report/report_page.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"

namespace mixgrad::app {
namespace {

std::vector<std::string> metric_keys() {
  std::vector<std::string> keys;
  for (const RunMetric& metric : run_metrics()) keys.emplace_back(metric.key);
  return keys;
}

class Plot : public Verb {
 public:
  std::string summary() const override { return "The curves of runs, drawn in the terminal"; }
  std::string example() const override { return "mixgrad plot runs/char runs/hsm --metric val"; }

  void declare(OptionSet& options) override {
    options.add_files("RUN", runs_, "Folders of runs");
    options.add("metric", metric_, metric_keys(),
                "loss: of training; val: of validation; lr: learning rate; grad: norm of the gradient; speed: tokens a "
                "second");
    options.add_flag("log", log_, "Logarithmic values");
    options.add("rows", rows_, {4, 200}, "Lines of the drawing");
  }

  int run() override {
    const std::vector<RunRecord> runs = read_runs(runs_);
    const std::vector<RunMetric>& metrics = run_metrics();
    std::size_t index = 0;
    while (metrics[index].key != metric_) ++index;
    const std::vector<Series> series = metric_series(runs, metrics[index]);
    const std::string chart =
        terminal_chart(series, {"steps", metrics[index].title}, log_ ? Scale::logarithmic : Scale::linear,
                       terminal_columns(STDOUT_FILENO), static_cast<std::size_t>(rows_));
    std::fwrite(chart.data(), 1, chart.size(), stdout);
    return kOk;
  }

 private:
  std::vector<std::string> runs_;
  std::string metric_ = "loss";
  bool log_ = false;
  std::int64_t rows_ = 20;
};

}  // namespace

std::unique_ptr<Verb> verbs::plot() { return std::make_unique<Plot>(); }

}  // namespace mixgrad::app
