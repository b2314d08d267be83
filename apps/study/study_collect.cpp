// What the steps of a study's rows gave, read from their logs and runs.
#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "apps/study/study_report.h"
#include "core/error.h"
#include "nn/files/file.h"
#include "nn/files/generations.h"

namespace mixgrad::app {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

StudyScore score_of(const Json& line) {
  StudyScore score{.loss = line.at("loss").get<double>()};
  if (line.contains("accuracy")) score.accuracy = line["accuracy"].get<double>();
  if (line.contains("by_hop")) {
    for (const Json& hop : line["by_hop"]) {
      score.by_hop.emplace_back(hop.at("hop").get<std::int64_t>(), hop.at("accuracy").get<double>());
    }
  }
  return score;
}

bool has_step(const StudyRow& row, const std::string& name) {
  return std::any_of(row.steps.begin(), row.steps.end(), [&](const StudyStep& step) { return step.name == name; });
}

ModelConfig config_of(const StudyRow& row) {
  const fs::path path = find_generation(row.model) / "config.json";
  return parse_model_config(read_text(path), path.string());
}

StudyResult result_of(const StudyPlan& plan, const StudyRunner& runner, const StudyRow& row) {
  StudyResult result{.row = &row, .score = score_of(runner.result(row, "eval")), .tasks = {}, .right_after = {}};
  for (std::size_t i = 0; i < plan.eval_tasks.size(); ++i) {
    result.tasks.push_back(score_of(runner.result(row, "eval-" + std::to_string(i + 1))));
  }
  if (has_step(row, "convert")) {
    const Json line = runner.result(row, "convert");
    if (line.contains("loss_after")) result.right_after = line["loss_after"].get<double>();
  }
  for (const StudyStep& step : row.steps) {
    if (step.run.empty()) continue;
    const std::vector<RunRecord> runs = read_runs({step.run});
    result.seconds += runs.front().seconds();
    result.tokens += static_cast<double>(runs.front().tokens_per_step * runs.front().step);
  }
  for (const auto& [name, shape] : parameter_shapes(config_of(row))) result.parameters += shape.numel();
  return result;
}

// The values of f(result) that are there.
template <class F>
Interval interval_over(const std::vector<const StudyResult*>& results, const F& f) {
  std::vector<double> values;
  for (const StudyResult* result : results) {
    if (const std::optional<double> value = f(*result)) values.push_back(*value);
  }
  return values.empty() ? Interval{} : interval_of(values);
}

}  // namespace

StudyReport collect(const StudyPlan& plan, const StudyRunner& runner) {
  StudyReport report{.results = {}, .groups = {}, .eval_tasks = plan.eval_tasks};
  for (const StudyRow& row : plan.rows) {
    if (runner.is_done(row)) report.results.push_back(result_of(plan, runner, row));
  }
  std::map<std::int64_t, double> longer;  // by seed
  for (const StudyResult& result : report.results) {
    if (result.row->variant == "longer") longer[result.row->seed] = result.score.loss;
  }
  for (const StudyResult& result : report.results) {
    const auto same = [&](const StudyGroup& group) {
      return group.variant == result.row->variant && group.fraction == result.row->fraction;
    };
    auto group = std::find_if(report.groups.begin(), report.groups.end(), same);
    if (group == report.groups.end()) {
      StudyGroup fresh;
      fresh.variant = result.row->variant;
      fresh.fraction = result.row->fraction;
      report.groups.push_back(std::move(fresh));
      group = report.groups.end() - 1;
    }
    group->results.push_back(&result);
  }
  for (StudyGroup& group : report.groups) {
    using Value = std::optional<double>;
    group.loss = interval_over(group.results, [](const StudyResult& r) -> Value { return r.score.loss; });
    group.accuracy = interval_over(group.results, [](const StudyResult& r) { return r.score.accuracy; });
    group.right_after = interval_over(group.results, [](const StudyResult& r) { return r.right_after; });
    group.seconds = interval_over(group.results, [](const StudyResult& r) -> Value { return r.seconds; });
    group.difference = interval_over(group.results, [&](const StudyResult& r) -> Value {
      const auto found = longer.find(r.row->seed);
      if (found == longer.end()) return std::nullopt;
      return r.score.loss - found->second;
    });
    if (group.variant == "longer") continue;  // it is the base's
    group.costs = decoding_costs(config_of(*group.results.front()->row), plan.timing_lengths);
  }
  return report;
}

}  // namespace mixgrad::app
