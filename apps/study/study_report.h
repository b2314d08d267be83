// The results of a study: a line for each row, means with 95 % intervals over seeds, what decoding costs, and figures.
//
//   const StudyReport report = collect(plan, runner);
//   write_report(report, "runs/study");     // study.md, study.csv, results.json, loss.svg, time.svg, cache.svg
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "apps/report/comparison.h"
#include "apps/study/decoding_cost.h"
#include "apps/study/study_plan.h"
#include "apps/study/study_runner.h"

namespace mixgrad::app {

struct StudyScore {  // of one evaluation
  double loss = 0;
  std::optional<double> accuracy = {};                       // of a task
  std::vector<std::pair<std::int64_t, double>> by_hop = {};  // of a task with hops
};

struct StudyResult {
  const StudyRow* row = nullptr;
  StudyScore score;
  std::vector<StudyScore> tasks;      // of eval-tasks, in their order
  std::optional<double> right_after;  // loss of the converted model before training
  double seconds = 0;                 // of training
  double tokens = 0;                  // trained on
  std::int64_t parameters = 0;
};

struct StudyGroup {  // the rows that differ by their seed alone
  std::string variant;
  double fraction = 0;
  std::vector<const StudyResult*> results;
  // difference: to the base trained on as long, by seed
  Interval loss, difference, accuracy, right_after, seconds;
  std::vector<DecodingCost> costs;  // of the first seed's model
};

struct StudyReport {
  std::vector<StudyResult> results;
  std::vector<StudyGroup> groups;
  std::vector<std::string> eval_tasks;
};

// Of the rows that are done. Times decoding, one model after another.
StudyReport collect(const StudyPlan& plan, const StudyRunner& runner);

// Writes the files into the folder of the study.
void write_report(const StudyReport& report, const std::filesystem::path& folder);

// The table of the groups as Markdown.
std::string means_markdown(const StudyReport& report);

}  // namespace mixgrad::app
