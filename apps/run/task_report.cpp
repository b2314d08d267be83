#include "apps/run/task_report.h"

#include <cstdio>
#include <map>
#include <vector>

#include "apps/output/json_line.h"
#include "core/text/plural.h"

namespace mixgrad::app {
namespace {

using Json = nlohmann::ordered_json;
using Groups = std::map<std::int64_t, Proportion>;

constexpr std::int64_t kMostRows = 12;  // of a table by position or distance

void add_shares(Json& object, const Proportion& share) {
  const Proportion::Interval interval = share.interval();
  object["accuracy"] = share.share();
  object["low"] = interval.low;
  object["high"] = interval.high;
}

Json groups_json(const char* key, const Groups& groups) {
  Json list = Json::array();
  for (const auto& [value, share] : groups) {
    Json item{{key, value}, {"right", share.right}, {"count", share.count}};
    add_shares(item, share);
    list.push_back(std::move(item));
  }
  return list;
}

// Neighbours together, so that there are at most kMostRows rows.
void print_groups(const char* title, const Groups& groups) {
  if (groups.size() < 2) return;
  const auto size = static_cast<std::int64_t>(groups.size());
  const std::int64_t together = (size + kMostRows - 1) / kMostRows;
  std::printf("\n");
  Table table(Format::text, {{.key = title, .number = true},
                             {.key = "accuracy", .number = true},
                             {.key = "interval of 95 %", .number = true},
                             {.key = "answers", .number = true}});
  std::int64_t index = 0;
  std::int64_t first = 0;
  Proportion sum;
  for (const auto& [value, share] : groups) {
    if (index % together == 0) {
      first = value;
      sum = {};
    }
    sum.right += share.right;
    sum.count += share.count;
    ++index;
    if (index % together != 0 && index != size) continue;
    const Proportion::Interval interval = sum.interval();
    table.add({first == value ? std::to_string(first) : std::to_string(first) + " to " + std::to_string(value),
               percent(sum.share()), percent(interval.low) + " to " + percent(interval.high),
               std::to_string(sum.count)});
  }
  table.finish();
}

void print_json(const std::string& task, const TaskScore& score) {
  Json object{{"task", task}, {"sequences", score.sequences.count}, {"answers", score.answers.count}};
  add_shares(object, score.answers);
  object["token_accuracy"] = score.tokens.share();
  object["sequence_accuracy"] = score.sequences.share();
  object["loss"] = score.loss;
  object["by_position"] = groups_json("position", score.by_position);
  object["by_distance"] = groups_json("distance", score.by_distance);
  object["by_hop"] = groups_json("hop", score.by_hop);
  std::printf("%s\n", json_line(object).c_str());
}

}  // namespace

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f %%", 100 * share);
  return text;
}

void print_task_score(Format format, const std::string& task, const TaskScore& score) {
  if (format == Format::json) return print_json(task, score);
  const Proportion::Interval interval = score.answers.interval();
  char loss[32];
  std::snprintf(loss, sizeof loss, "%.4f", score.loss);
  const auto share = [](const char* label, const Proportion& part, std::string remark) {
    return Figure{.key = label,
                  .value = part.share(),
                  .label = label,
                  .text = percent(part.share()),
                  .remark = std::move(remark)};
  };
  print_figures(format, {share("accuracy", score.answers,
                               percent(interval.low) + " to " + percent(interval.high) + " (95 %), of " +
                                   count_text(score.answers.count, "answer")),
                         share("tokens", score.tokens, "of " + count_text(score.tokens.count, "target")),
                         share("sequences", score.sequences,
                               "of " + count_text(score.sequences.count, "sequence") + " have every answer right"),
                         {.key = "loss", .value = score.loss, .label = "loss", .text = loss, .remark = "nats a target"},
                         {.key = "task", .value = task, .label = "task", .text = "", .remark = task}});
  print_groups("hops", score.by_hop);
  print_groups("distance", score.by_distance);
  print_groups("position", score.by_position);
}

}  // namespace mixgrad::app
