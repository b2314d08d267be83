// One HTML file of several runs: curves, comparison, configuration, models, samples. It needs no network, no other file
// and, for everything but choosing curves, no script.
#pragma once

#include <string>
#include <vector>

#include "apps/report/chart.h"
#include "apps/report/comparison.h"

namespace mixgrad::app {

struct RunSample {
  std::string run;
  std::int64_t step = 0;
  std::string text;
};

struct ReportContents {
  std::string title;
  std::string made;  // by which program, from how many runs
  const std::vector<RunRecord>* runs = nullptr;
  const RunComparison* comparison = nullptr;
  std::vector<RunSample> samples;  // by run and step; may be empty
  std::string environment;         // a line each
};

std::string report_page(const ReportContents& contents);

// A metric of metrics.jsonl and how it is drawn.
struct RunMetric {
  const char* key;    // also the name of the file that --svg writes
  const char* title;  // with its unit
  double MetricsLine::*value;
};
const std::vector<RunMetric>& run_metrics();

// The curve of each run over its steps.
std::vector<Series> metric_series(const std::vector<RunRecord>& runs, const RunMetric& metric);

}  // namespace mixgrad::app
