// Runs side by side: those that differ by their seed alone are one group; means with 95 % intervals over seeds, and
// differences to a baseline.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/output/table.h"
#include "apps/report/run_record.h"

namespace mixgrad::app {

// mean +- half, a 95 % interval by Student's t; `half` is NaN for a single value.
struct Interval {
  double mean = 0, half = 0;
  std::int64_t count = 0;
};
Interval interval_of(const std::vector<double>& values);

struct RunGroup {
  std::string label;                   // the options that not all groups share, or the name of its only run
  std::vector<const RunRecord*> runs;  // by seed
  Interval loss;
  // loss minus that of the baseline: over the seeds that both have, paired, where there are two or more; else unpaired
  // (Welch) where both have two or more runs; else without an interval.
  Interval difference;
  bool paired = false;
  bool is_baseline = false;
  // 1 = the best; equal ranks where the interval of the difference to the best of that rank holds 0; 0 where a group
  // has a single run, so that nothing supports a rank.
  int rank = 0;
};

struct RunComparison {
  std::vector<RunGroup> groups;  // by loss, the lowest first
  bool validation = true;        // losses are the best of the evaluations; false: of the last step, for want of any
  std::string note;              // what a reader has to know, such as runs of different length; or nothing
};

// `baseline`: the name or path of one of the runs, whose group is the baseline; "" = the group of the first run.
// ValueError when it names none of them; `runs` has at least one and outlives the result.
RunComparison compare_runs(const std::vector<RunRecord>& runs, const std::string& baseline);

// The table of `mixgrad compare`, a row for each group; not yet finished.
Table comparison_table(const RunComparison& comparison, Format format);

}  // namespace mixgrad::app
