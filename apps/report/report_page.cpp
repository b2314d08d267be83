#include "apps/report/report_page.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "apps/report/html.h"
#include "apps/report/page_texts.h"
#include "apps/report/run_costs.h"
#include "core/error.h"
#include "core/text/bytes.h"

namespace mixgrad::app {
namespace {

using Json = nlohmann::ordered_json;

// A page of ten runs stays below a megabyte: of longer runs, points in between are left out.
constexpr std::size_t kMostPoints = 800;

std::string formatted(const char* format, double value) {
  if (std::isnan(value)) return "–";
  char text[48];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string grouped(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

std::string cell(const std::string& text, bool number) {
  return std::string("<td") + (number ? " class=\"number\"" : "") + ">" + html_text(text) + "</td>";
}

std::string head_row(const std::vector<std::pair<std::string, bool>>& titles) {
  std::string row = "<tr>";
  for (const auto& [title, number] : titles) {
    row += std::string("<th scope=\"col\"") + (number ? " class=\"number\"" : "") + ">" + html_text(title) + "</th>";
  }
  return row + "</tr>\n";
}

std::string comparison_html(const RunComparison& comparison) {
  std::string html = "<div class=\"scroll\"><table id=\"comparison\">\n" +
                     head_row({{"runs", false},
                               {"seeds", true},
                               {comparison.validation ? "validation loss" : "loss", true},
                               {"difference", true},
                               {"rank", true},
                               {"parameters", true},
                               {"operations a token", true},
                               {"state bytes", true},
                               {"ms a step", true},
                               {"seconds", true},
                               {"steps", true}});
  const auto with_interval = [](const Interval& interval, const char* format) {
    const std::string mean = formatted(format, interval.mean);
    return std::isnan(interval.half) ? mean : mean + " ± " + formatted("%.4f", interval.half);
  };
  for (const RunGroup& group : comparison.groups) {
    const RunRecord& first = *group.runs.front();
    double ms = 0;
    double seconds = 0;
    for (const RunRecord* run : group.runs) {
      ms += run->ms_per_step() / static_cast<double>(group.runs.size());
      seconds += run->seconds() / static_cast<double>(group.runs.size());
    }
    html += "<tr><th scope=\"row\">" + html_text(group.label) + "</th>" +
            cell(std::to_string(group.runs.size()), true) + cell(with_interval(group.loss, "%.4f"), true) +
            cell(group.is_baseline ? "baseline" : with_interval(group.difference, "%+.4f"), true) +
            cell(group.rank > 0 ? std::to_string(group.rank) : "–", true) + cell(grouped(first.parameters), true) +
            cell(formatted("%.4g", first.operations), true) + cell(grouped(first.state_bytes), true) +
            cell(formatted("%.4g", ms), true) + cell(formatted("%.4g", seconds), true) +
            cell(std::to_string(first.step), true) + "</tr>\n";
  }
  html += "</table></div>\n<p class=\"note\">Losses in nats a token";
  html += comparison.validation ? ", the best of the evaluations" : ", those of the last step";
  html +=
      "; ± is half of a 95 % interval over seeds (Student). Differences are taken between runs of one seed where there "
      "are two such pairs. "
      "Equal ranks: the interval of the difference to the best of that rank holds 0. Seconds are those of training "
      "steps.";
  if (!comparison.note.empty()) html += " Note: " + html_text(comparison.note) + ".";
  return html + "</p>\n";
}

// Every option of any run; those that differ first and in bold.
std::string options_html(const std::vector<RunRecord>& runs) {
  std::set<std::string> names;
  for (const RunRecord& run : runs) {
    for (const auto& [name, value] : run.options) names.insert(name);
  }
  std::vector<std::pair<std::string, bool>> titles{{"option", false}};
  for (const RunRecord& run : runs) titles.emplace_back(run.name, false);
  std::string differing;
  std::string same;
  for (const std::string& name : names) {
    std::set<std::string> values;
    std::string row = "<th scope=\"row\">" + html_text(name) + "</th>";
    for (const RunRecord& run : runs) {
      const auto found = run.options.find(name);
      const std::string value = found == run.options.end() ? "–" : found->second;
      values.insert(value);
      row += cell(value, false);
    }
    std::string& to = values.size() > 1 ? differing : same;
    to += std::string("<tr class=\"") + (values.size() > 1 ? "differs" : "same") + "\">" + row + "</tr>\n";
  }
  std::string html;
  if (!differing.empty()) {
    html += "<h3>What differs</h3><div class=\"scroll\"><table>\n" + head_row(titles) + differing + "</table></div>\n";
  }
  return html + "<details><summary>What all have in common</summary><div class=\"scroll\"><table>\n" +
         head_row(titles) + same + "</table></div></details>\n";
}

std::string models_html(const std::vector<RunRecord>& runs) {
  std::string html;
  std::map<std::string, std::vector<const RunRecord*>> by_config;
  for (const RunRecord& run : runs) by_config[run.config].push_back(&run);
  for (const auto& [config, of_config] : by_config) {
    std::string names;
    for (const RunRecord* run : of_config) names += (names.empty() ? "" : ", ") + run->name;
    html += "<details><summary>" + html_text(names) + "</summary><div class=\"scroll\"><table>\n" +
            head_row({{"part", false}, {"parameters", true}, {"operations a token", true}, {"state bytes", true}});
    for (const LayerReport& layer : of_config.front()->layers) {
      html += "<tr><th scope=\"row\">" + html_text(layer.what) + "</th>" + cell(grouped(layer.parameters), true) +
              cell(formatted("%.4g", layer.operations), true) +
              cell(grouped(static_cast<std::int64_t>(layer.state_bytes)), true) + "</tr>\n";
    }
    html += "</table></div><pre>" + html_text(config) + "</pre></details>\n";
  }
  return html;
}

// Memory and time of each run.
std::string costs_html(const std::vector<RunRecord>& runs) {
  std::string html = "<div class=\"scroll\"><table id=\"costs-table\">\n" + head_row({{"run", false},
                                                                                      {"parameters", true},
                                                                                      {"gradients", true},
                                                                                      {"optimizer", true},
                                                                                      {"activations", true},
                                                                                      {"peak of a step", true},
                                                                                      {"on disk", true},
                                                                                      {"seconds done", true},
                                                                                      {"seconds to come", true}});
  for (const RunRecord& run : runs) {
    const RunCosts costs = run_costs(run);
    html += "<tr><th scope=\"row\">" + html_text(run.name) + "</th>";
    for (const std::size_t MemoryPlan::*part : {&MemoryPlan::parameters, &MemoryPlan::gradients, &MemoryPlan::optimizer,
                                                &MemoryPlan::activations, &MemoryPlan::peak}) {
      html += cell(costs.plan ? bytes_text((*costs.plan).*part) : "–", true);
    }
    html += cell(bytes_text(costs.generation), true) + cell(formatted("%.4g", costs.seconds), true) +
            cell(formatted("%.4g", costs.seconds_left), true) + "</tr>\n";
  }
  return html +
         "</table></div>\n<p class=\"note\">Memory of a training step in the run's precision on a CPU, as `mixgrad "
         "train --plan` computes it; – for a model so large that computing it would take too long, and for a run "
         "with a teacher. On disk: one stored generation. Seconds to come: the steps that the run has left, at the "
         "median pace of those done; evaluations are not counted.</p>\n";
}

std::string samples_html(const std::vector<RunSample>& samples) {
  if (samples.empty()) return "";
  std::string html = "<section aria-labelledby=\"samples\"><h2 id=\"samples\">Samples</h2>\n";
  for (const RunSample& sample : samples) {
    html += "<h3>" + html_text(sample.run) + ", step " + std::to_string(sample.step) + "</h3><pre>" +
            html_text(sample.text) + "</pre>\n";
  }
  return html + "</section>\n";
}

// Six digits: what a curve shows, and half of the bytes.
Json rounded(double value) {
  if (!std::isfinite(value)) return nullptr;
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return std::strtod(text, nullptr);
}

Json curves_json(const RunRecord& run) {
  const std::size_t stride = (run.lines.size() + kMostPoints - 1) / kMostPoints;
  Json steps = Json::array();
  Json time = Json::array();
  std::map<std::string, Json> values;
  for (const RunMetric& metric : run_metrics()) values[metric.key] = Json::array();
  double seconds = 0;
  std::int64_t before = 0;
  for (std::size_t i = 0; i < run.lines.size(); ++i) {
    const MetricsLine& line = run.lines[i];
    if (line.tokens_per_s > 0) {
      seconds += static_cast<double>((line.step - before) * run.tokens_per_step) / line.tokens_per_s;
    }
    before = line.step;
    const bool kept = stride <= 1 || i % stride == 0 || i + 1 == run.lines.size() || !std::isnan(line.val_loss);
    if (!kept) continue;
    steps.push_back(line.step);
    time.push_back(rounded(seconds));
    for (const RunMetric& metric : run_metrics()) values[metric.key].push_back(rounded(line.*metric.value));
  }
  Json object{{"name", run.name}, {"tokens_per_step", run.tokens_per_step}, {"steps", steps}, {"time", time}};
  for (const RunMetric& metric : run_metrics()) object[metric.key] = values[metric.key];
  return object;
}

}  // namespace

const std::vector<RunMetric>& run_metrics() {
  static const std::vector<RunMetric> metrics{{"loss", "training loss, nats a token", &MetricsLine::loss},
                                              {"val", "validation loss, nats a token", &MetricsLine::val_loss},
                                              {"lr", "learning rate", &MetricsLine::lr},
                                              {"grad", "norm of the gradient", &MetricsLine::grad_norm},
                                              {"speed", "tokens a second", &MetricsLine::tokens_per_s}};
  return metrics;
}

std::vector<Series> metric_series(const std::vector<RunRecord>& runs, const RunMetric& metric) {
  std::vector<Series> all;
  for (const RunRecord& run : runs) {
    Series series{run.name, {}};
    for (const MetricsLine& line : run.lines) {
      series.points.emplace_back(static_cast<double>(line.step), line.*metric.value);
    }
    all.push_back(std::move(series));
  }
  return all;
}

std::string report_page(const ReportContents& contents) {
  const std::vector<RunRecord>& runs = *contents.runs;
  Json data{{"runs", Json::array()}};
  bool validation = false;
  for (const RunRecord& run : runs) {
    data["runs"].push_back(curves_json(run));
    validation = validation || run.has_validation();
  }
  const RunMetric& shown = run_metrics()[validation ? 1 : 0];
  std::string environment = "<ul>\n";
  for (std::size_t at = 0; at < contents.environment.size();) {
    const std::size_t end = std::min(contents.environment.find('\n', at), contents.environment.size());
    environment += "<li>" + html_text(contents.environment.substr(at, end - at)) + "</li>\n";
    at = end + 1;
  }
  return filled_page(kReportHtml,
                     {{"TITLE", html_text(contents.title)},
                      {"MADE", html_text(contents.made)},
                      {"STYLE", kReportCss},
                      {"SCRIPT", std::string(kPictureJs) + kCurvesJs + kReportJs},
                      {"CHART", svg_chart(metric_series(runs, shown), {"steps", shown.title}, Scale::linear)},
                      {"TABLE", comparison_html(*contents.comparison)},
                      {"OPTIONS", options_html(runs)},
                      {"MODELS", models_html(runs)},
                      {"COSTS", costs_html(runs)},
                      {"SAMPLES", samples_html(contents.samples)},
                      {"ENVIRONMENT", environment + "</ul>\n"},
                      {"DATA", json_in_script(data.dump(-1, ' ', false, Json::error_handler_t::replace))}});
}

}  // namespace mixgrad::app
