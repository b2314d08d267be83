#include "apps/study/study_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "apps/report/chart.h"
#include "nn/files/file.h"

namespace mixgrad::app {
namespace {

using Json = nlohmann::ordered_json;

std::string number(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

// "1.693 ± 0.012"; "-" without a value.
std::string shown(const Interval& interval, const char* format) {
  if (interval.count == 0) return "-";
  std::string text = number(format, interval.mean);
  std::string unsigned_format = format;  // a half width has no sign
  std::erase(unsigned_format, '+');
  if (interval.count > 1 && std::isfinite(interval.half)) {
    text += " ± " + number(unsigned_format.c_str(), interval.half);
  }
  return text;
}

Json json_of(const Interval& interval) {
  if (interval.count == 0) return nullptr;
  Json object{{"mean", interval.mean}, {"half", nullptr}, {"count", interval.count}};
  if (std::isfinite(interval.half)) object["half"] = interval.half;
  return object;
}

Json json_of(const StudyScore& score) {
  Json object{{"loss", score.loss}};
  if (score.accuracy) object["accuracy"] = *score.accuracy;
  if (!score.by_hop.empty()) object["by_hop"] = Json::array();
  for (const auto& [hop, accuracy] : score.by_hop) object["by_hop"].push_back({{"hop", hop}, {"accuracy", accuracy}});
  return object;
}

Json json_of(const DecodingCost& cost) {
  return {{"tokens", cost.tokens},           {"prefill_ms", cost.prefill_ms},       {"us_per_token", cost.us_per_token},
          {"state_bytes", cost.state_bytes}, {"formula_bytes", cost.formula_bytes}, {"peak_bytes", cost.peak_bytes}};
}

std::string label_of(const std::string& variant, double fraction) {
  return fraction == 0 ? variant : variant + " " + number("%g", 100 * fraction) + " %";
}

bool has_accuracy(const StudyReport& report) {
  for (const StudyGroup& group : report.groups) {
    if (group.accuracy.count > 0) return true;
  }
  return false;
}

std::string line(const std::vector<std::string>& cells) {
  std::string text = "|";
  for (const std::string& cell : cells) text += " " + cell + " |";
  return text + "\n";
}

std::string rule(std::size_t columns) {
  std::string text = "|";
  for (std::size_t c = 0; c < columns; ++c) text += "---|";
  return text + "\n";
}

std::string costs_markdown(const StudyReport& report) {
  const std::vector<std::string> titles{"heads",       "tokens before",       "prefill ms",         "us a token",
                                        "cache bytes", "the same by formula", "peak MiB of prefill"};
  std::string text = line(titles) + rule(titles.size());
  for (const StudyGroup& group : report.groups) {
    for (const DecodingCost& cost : group.costs) {
      text +=
          line({label_of(group.variant, group.fraction), std::to_string(cost.tokens), number("%.1f", cost.prefill_ms),
                number("%.0f", cost.us_per_token), std::to_string(cost.state_bytes), std::to_string(cost.formula_bytes),
                number("%.2f", static_cast<double>(cost.peak_bytes) / 1048576)});
    }
  }
  return text;
}

std::string tasks_markdown(const StudyReport& report) {
  std::string text;
  const auto add = [&](const std::string& title, const auto& score_of) {
    std::map<std::int64_t, bool> hops;
    for (const StudyResult& result : report.results) {
      for (const auto& [hop, accuracy] : score_of(result).by_hop) hops[hop] = true;
    }
    std::vector<std::string> titles{"heads", "right answers"};
    for (const auto& [hop, there] : hops) titles.push_back(std::to_string(hop) + (hop == 1 ? " hop" : " hops"));
    text += "\nOn " + title + ":\n\n" + line(titles) + rule(titles.size());
    for (const StudyGroup& group : report.groups) {
      const auto mean = [&](const auto& value_of) {
        std::vector<double> values;
        for (const StudyResult* result : group.results) {
          if (const std::optional<double> value = value_of(score_of(*result))) values.push_back(100 * *value);
        }
        return values.empty() ? std::string("-") : shown(interval_of(values), "%.1f") + " %";
      };
      std::vector<std::string> cells{label_of(group.variant, group.fraction),
                                     mean([](const StudyScore& score) { return score.accuracy; })};
      for (const auto& [hop, there] : hops) {
        cells.push_back(mean([at = hop](const StudyScore& score) -> std::optional<double> {
          for (const auto& [one, accuracy] : score.by_hop) {
            if (one == at) return accuracy;
          }
          return std::nullopt;
        }));
      }
      text += line(cells);
    }
  };
  add("the task of the run", [](const StudyResult& result) -> const StudyScore& { return result.score; });
  for (std::size_t i = 0; i < report.eval_tasks.size(); ++i) {
    add(report.eval_tasks[i], [i](const StudyResult& result) -> const StudyScore& { return result.tasks[i]; });
  }
  return text;
}

std::string markdown(const StudyReport& report) {
  std::string text = "# Study\n\nMean over seeds, and the half width of its 95 % interval (Student's t).\n\n";
  text += means_markdown(report);
  if (has_accuracy(report)) text += tasks_markdown(report);
  text +=
      "\n## Decoding\n\nOne sequence in f32 on one thread of a CPU, models with initial weights and as long a context. "
      "Prefill: the faster of two; a "
      "token: the fastest of 48, since other work on the machine only adds.\n\n";
  text += costs_markdown(report) + "\n## Rows\n\n";
  const std::vector<std::string> titles{"row", "seed", "loss", "seconds of training", "command"};
  text += line(titles) + rule(titles.size());
  for (const StudyResult& result : report.results) {
    text += line({result.row->name, std::to_string(result.row->seed), number("%.4f", result.score.loss),
                  number("%.1f", result.seconds), "`" + study_command(*result.row) + "`"});
  }
  return text;
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string csv(const StudyReport& report) {
  std::string text =
      "row,variant,fraction,seed,loss,loss_right_after,accuracy,parameters,train_seconds,train_tokens,command\n";
  const auto optional = [](const std::optional<double>& value) {
    return value ? number("%.6f", *value) : std::string();
  };
  for (const StudyResult& result : report.results) {
    const StudyRow& row = *result.row;
    text += row.name + "," + row.variant + "," + number("%g", row.fraction) + "," + std::to_string(row.seed) + "," +
            number("%.6f", result.score.loss) + "," + optional(result.right_after) + "," +
            optional(result.score.accuracy) + "," + std::to_string(result.parameters) + "," +
            number("%.2f", result.seconds) + "," + number("%.0f", result.tokens) + "," + csv_field(study_command(row)) +
            "\n";
  }
  return text;
}

Json json(const StudyReport& report) {
  Json root{{"groups", Json::array()}, {"rows", Json::array()}};
  for (const StudyGroup& group : report.groups) {
    Json object{{"variant", group.variant},
                {"fraction", group.fraction},
                {"loss", json_of(group.loss)},
                {"difference_to_longer", json_of(group.difference)},
                {"loss_right_after", json_of(group.right_after)},
                {"accuracy", json_of(group.accuracy)},
                {"train_seconds", json_of(group.seconds)},
                {"decoding", Json::array()}};
    for (const DecodingCost& cost : group.costs) object["decoding"].push_back(json_of(cost));
    root["groups"].push_back(object);
  }
  for (const StudyResult& result : report.results) {
    Json object{{"row", result.row->name},          {"variant", result.row->variant},
                {"fraction", result.row->fraction}, {"seed", result.row->seed},
                {"score", json_of(result.score)},   {"tasks", Json::array()},
                {"parameters", result.parameters},  {"train_seconds", result.seconds},
                {"train_tokens", result.tokens},    {"command", study_command(*result.row)}};
    if (result.right_after) object["loss_right_after"] = *result.right_after;
    for (const StudyScore& score : result.tasks) object["tasks"].push_back(json_of(score));
    root["rows"].push_back(object);
  }
  return root;
}

// A curve for each variant over the share of replaced groups; the base and the base trained on are level lines.
template <class F>
std::vector<Series> over_fractions(const StudyReport& report, const F& value) {
  double most = 0;
  for (const StudyGroup& group : report.groups) most = std::max(most, 100 * group.fraction);
  std::vector<Series> series;
  for (const StudyGroup& group : report.groups) {
    const double y = value(group);
    auto found = std::find_if(series.begin(), series.end(), [&](const Series& s) { return s.name == group.variant; });
    if (found == series.end()) found = series.insert(series.end(), Series{group.variant, {}});
    if (group.fraction == 0) {
      found->points = {{0, y}, {most, y}};
    } else {
      found->points.emplace_back(100 * group.fraction, y);
    }
  }
  for (Series& one : series) std::sort(one.points.begin(), one.points.end());
  return series;
}

// A curve for each group of these over the tokens before.
template <class F>
std::vector<Series> over_tokens(const StudyReport& report, const F& value) {
  std::vector<Series> series;
  for (const StudyGroup& group : report.groups) {
    if (group.variant != "base" && group.variant != "recurformer" && group.variant != "window") continue;
    Series one{label_of(group.variant, group.fraction), {}};
    for (const DecodingCost& cost : group.costs) one.points.emplace_back(static_cast<double>(cost.tokens), value(cost));
    series.push_back(one);
  }
  return series;
}

}  // namespace

std::string means_markdown(const StudyReport& report) {
  std::vector<std::string> titles{
      "heads",     "seeds", "loss right after", "loss after training", "to the base trained on", "seconds of training",
      "parameters"};
  if (has_accuracy(report)) titles.insert(titles.begin() + 4, "right answers %");
  std::string text = line(titles) + rule(titles.size());
  for (const StudyGroup& group : report.groups) {
    std::vector<std::string> cells{label_of(group.variant, group.fraction),
                                   std::to_string(group.results.size()),
                                   shown(group.right_after, "%.3f"),
                                   shown(group.loss, "%.3f"),
                                   group.variant == "longer" ? "0" : shown(group.difference, "%+.3f"),
                                   shown(group.seconds, "%.0f"),
                                   std::to_string(group.results.front()->parameters)};
    if (has_accuracy(report)) {
      Interval share = group.accuracy;
      share.mean *= 100;
      share.half *= 100;
      cells.insert(cells.begin() + 4, shown(share, "%.1f"));
    }
    text += line(cells);
  }
  return text;
}

void write_report(const StudyReport& report, const std::filesystem::path& folder) {
  write_file_atomic(folder / "study.md", markdown(report));
  write_file_atomic(folder / "study.csv", csv(report));
  write_file_atomic(folder / "results.json", json(report).dump(2) + "\n");
  const auto chart = [&](const char* name, const std::vector<Series>& series, const ChartTitles& titles) {
    write_file_atomic(folder / name, svg_chart_file(series, titles, Scale::linear));
  };
  chart("loss.svg", over_fractions(report, [](const StudyGroup& group) { return group.loss.mean; }),
        {"replaced groups, %", "loss, nats a target"});
  if (has_accuracy(report)) {
    chart("accuracy.svg", over_fractions(report, [](const StudyGroup& group) { return 100 * group.accuracy.mean; }),
          {"replaced groups, %", "right answers, %"});
  }
  chart("time.svg", over_tokens(report, [](const DecodingCost& cost) { return cost.us_per_token; }),
        {"tokens before", "us a token"});
  chart("cache.svg",
        over_tokens(report, [](const DecodingCost& cost) { return static_cast<double>(cost.state_bytes); }),
        {"tokens before", "bytes of the cache"});
}

}  // namespace mixgrad::app
