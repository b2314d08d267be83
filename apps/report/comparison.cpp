#include "apps/report/comparison.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "apps/report/student.h"
#include "core/error.h"

namespace mixgrad::app {
namespace {

using Options = std::map<std::string, std::string>;

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// Options that change nothing about what a run learns, and the seed.
const std::set<std::string>& ignored_options() {
  static const std::set<std::string> names{"seed", "log-every", "save-every", "threads", "json", "out", "device"};
  return names;
}

Options compared_options(const RunRecord& run) {
  Options options;
  for (const auto& [name, value] : run.options) {
    if (ignored_options().count(name) == 0) options.emplace(name, value);
  }
  return options;
}

std::string option_or(const Options& options, const std::string& name, const std::string& otherwise) {
  const auto found = options.find(name);
  return found == options.end() ? otherwise : found->second;
}

std::vector<double> losses_of(const RunGroup& group) {
  std::vector<double> losses;
  for (const RunRecord* run : group.runs) losses.push_back(run->loss());
  return losses;
}

// Welch: the difference of two means whose variances may differ.
Interval unpaired(const std::vector<double>& a, const std::vector<double>& b) {
  const Interval of_a = interval_of(a);
  const Interval of_b = interval_of(b);
  Interval result{of_a.mean - of_b.mean, kUnknown, static_cast<std::int64_t>(std::min(a.size(), b.size()))};
  if (a.size() < 2 || b.size() < 2) return result;
  const auto error = [](const std::vector<double>& values, double mean) {  // squared, of the mean
    double squares = 0;
    for (const double value : values) squares += (value - mean) * (value - mean);
    const auto n = static_cast<double>(values.size());
    return squares / (n - 1) / n;
  };
  const double error_a = error(a, of_a.mean);
  const double error_b = error(b, of_b.mean);
  const double total = error_a + error_b;
  if (total == 0) {
    result.half = 0;
    return result;
  }
  const double degrees =
      total * total /
      (error_a * error_a / static_cast<double>(a.size() - 1) + error_b * error_b / static_cast<double>(b.size() - 1));
  result.half = student_quantile(static_cast<int>(degrees)) * std::sqrt(total);
  return result;
}

struct Difference {
  Interval interval;
  bool paired = false;
};

Difference difference_of(const RunGroup& group, const RunGroup& other) {
  std::map<std::string, double> of_seed;
  for (const RunRecord* run : other.runs) of_seed[option_or(run->options, "seed", "")] = run->loss();
  std::vector<double> pairs;
  for (const RunRecord* run : group.runs) {
    const auto found = of_seed.find(option_or(run->options, "seed", ""));
    if (found != of_seed.end()) pairs.push_back(run->loss() - found->second);
  }
  if (pairs.size() >= 2) return {interval_of(pairs), true};
  return {unpaired(losses_of(group), losses_of(other)), false};
}

bool holds_zero(const Interval& interval) {
  return std::isnan(interval.half) || std::abs(interval.mean) <= interval.half;
}

void label_groups(std::vector<RunGroup>& groups, const std::vector<Options>& options) {
  std::set<std::string> names;
  for (const Options& of : options) {
    for (const auto& [name, value] : of) names.insert(name);
  }
  for (std::size_t g = 0; g < groups.size(); ++g) {
    std::string label;
    for (const std::string& name : names) {
      const std::string own = option_or(options[g], name, "-");
      const bool differs = std::any_of(options.begin(), options.end(),
                                       [&](const Options& other) { return option_or(other, name, "-") != own; });
      if (differs) label += (label.empty() ? "" : " ") + name + "=" + (own.empty() ? "-" : own);
    }
    if (groups[g].runs.size() == 1 && groups.size() > 1 && label.size() > 60) label = groups[g].runs[0]->name;
    groups[g].label = label.empty() ? groups[g].runs[0]->name : label;
  }
}

// Groups are by loss. A group has the rank of the one before it unless the difference to the best of that rank excludes
// 0; a single run has none.
void rank_groups(std::vector<RunGroup>& groups) {
  const RunGroup* best = nullptr;
  int rank = 0;
  int place = 0;
  for (RunGroup& group : groups) {
    if (group.runs.size() < 2) continue;
    ++place;
    if (best == nullptr || !holds_zero(difference_of(group, *best).interval)) {
      best = &group;
      rank = place;
    }
    group.rank = rank;
  }
}

}  // namespace

Interval interval_of(const std::vector<double>& values) {
  Interval result;
  result.count = static_cast<std::int64_t>(values.size());
  const auto n = static_cast<double>(values.size());
  result.mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  result.half = kUnknown;
  if (values.size() < 2) return result;
  double squares = 0;
  for (const double value : values) squares += (value - result.mean) * (value - result.mean);
  result.half = student_quantile(static_cast<int>(values.size()) - 1) * std::sqrt(squares / (n - 1) / n);
  return result;
}

RunComparison compare_runs(const std::vector<RunRecord>& runs, const std::string& baseline) {
  RunComparison result;
  std::vector<Options> options;
  for (const RunRecord& run : runs) {
    const Options own = compared_options(run);
    const auto found = std::find(options.begin(), options.end(), own);
    const auto index = static_cast<std::size_t>(found - options.begin());
    if (found == options.end()) {
      options.push_back(own);
      result.groups.emplace_back();
    }
    result.groups[index].runs.push_back(&run);
    result.validation = result.validation && run.has_validation();
  }
  label_groups(result.groups, options);
  const RunRecord* base = baseline.empty() ? &runs.front() : nullptr;
  for (const RunRecord& run : runs) {
    if (base == nullptr && (run.name == baseline || run.path == baseline)) base = &run;
  }
  if (base == nullptr) {
    std::vector<std::string> names;
    for (const RunRecord& run : runs) names.push_back(run.name);
    std::string all;
    for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
    raise<ValueError>("--baseline must be one of the runs (", all, "), got ", baseline);
  }
  for (RunGroup& group : result.groups) {
    std::stable_sort(group.runs.begin(), group.runs.end(), [](const RunRecord* a, const RunRecord* b) {
      const std::string left = option_or(a->options, "seed", "");
      const std::string right = option_or(b->options, "seed", "");
      return left.size() != right.size() ? left.size() < right.size() : left < right;
    });
    group.loss = interval_of(losses_of(group));
    group.is_baseline = std::find(group.runs.begin(), group.runs.end(), base) != group.runs.end();
  }
  const RunGroup reference =
      *std::find_if(result.groups.begin(), result.groups.end(), [](const RunGroup& g) { return g.is_baseline; });
  for (RunGroup& group : result.groups) {
    if (group.is_baseline) continue;
    const Difference difference = difference_of(group, reference);
    group.difference = difference.interval;
    group.paired = difference.paired;
  }
  // A loss that is not a number is the worst.
  std::stable_sort(result.groups.begin(), result.groups.end(), [](const RunGroup& a, const RunGroup& b) {
    if (std::isnan(a.loss.mean) || std::isnan(b.loss.mean)) return !std::isnan(a.loss.mean);
    return a.loss.mean < b.loss.mean;
  });
  rank_groups(result.groups);
  std::set<std::int64_t> steps;
  for (const RunRecord& run : runs) steps.insert(run.step);
  if (steps.size() > 1) result.note = "the runs have done different numbers of steps";
  return result;
}

Table comparison_table(const RunComparison& comparison, Format format) {
  Table table(format,
              {{.key = "group", .title = "runs"},
               {.key = "seeds", .number = true},
               {.key = "loss", .title = comparison.validation ? "val loss" : "loss", .number = true, .format = "%.4f"},
               {.key = "loss_half_width", .title = "95 % ±", .number = true, .format = "%.4f"},
               {.key = "difference", .number = true, .format = "%+.4f"},
               {.key = "difference_half_width", .title = "95 % ±", .number = true, .format = "%.4f"},
               {.key = "paired", .shown = ShownIn::json},
               {.key = "rank", .number = true},
               {.key = "parameters", .number = true},
               {.key = "operations_per_token", .title = "operations", .number = true, .format = "%.4g"},
               {.key = "state_bytes", .title = "state bytes", .number = true},
               {.key = "ms_per_step", .title = "ms a step", .number = true, .format = "%.4g"},
               {.key = "seconds", .number = true, .format = "%.4g"},
               {.key = "steps", .number = true},
               {.key = "runs", .shown = ShownIn::json}});
  const auto number = [](double value) -> TableCell {
    if (std::isnan(value)) return nlohmann::ordered_json();
    return value;
  };
  for (const RunGroup& group : comparison.groups) {
    const RunRecord& first = *group.runs.front();
    double ms = 0;
    double seconds = 0;
    nlohmann::ordered_json names = nlohmann::ordered_json::array();
    for (const RunRecord* run : group.runs) {
      ms += run->ms_per_step() / static_cast<double>(group.runs.size());
      seconds += run->seconds() / static_cast<double>(group.runs.size());
      names.push_back(run->name);
    }
    const bool other = !group.is_baseline;
    table.add({group.label, group.loss.count, number(group.loss.mean), number(group.loss.half),
               other ? number(group.difference.mean) : TableCell(nlohmann::ordered_json(), "baseline"),
               other ? number(group.difference.half) : TableCell(nlohmann::ordered_json()),
               other ? nlohmann::ordered_json(group.paired) : nlohmann::ordered_json(),
               group.rank > 0 ? nlohmann::ordered_json(group.rank) : nlohmann::ordered_json(), first.parameters,
               number(first.operations), first.state_bytes, number(ms), number(seconds), first.step, names});
  }
  return table;
}

}  // namespace mixgrad::app
