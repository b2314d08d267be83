#include "nn/files/metrics_file.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>

#include "core/error.h"
#include "core/text/plural.h"
#include "nn/files/file.h"
#include "nn/files/strict_json.h"

namespace mixgrad {
namespace {

namespace fs = std::filesystem;

// A line as a run writes it; nothing for any other line.
std::optional<MetricsLine> parse_line(std::string_view line) {
  try {
    const nlohmann::json value = parse_strict_json(line, "metrics.jsonl");
    const auto number = [&](const char* key) -> double {
      const nlohmann::json& found = json_at(value, {}, key);
      if (found.is_null()) return std::numeric_limits<double>::quiet_NaN();
      if (!found.is_number()) raise<FormatError>(key);
      return found.get<double>();
    };
    return MetricsLine{.step = json_integer(json_at(value, {}, "step"), {}, 0, INT64_MAX),
                       .loss = number("loss"),
                       .val_loss = number("val_loss"),
                       .lr = number("lr"),
                       .grad_norm = number("grad_norm"),
                       .tokens_per_s = number("tokens_per_s")};
  } catch (const FormatError&) {
    return std::nullopt;
  }
}

// f(line, number) for each line of the text, counted from 1.
template <class F>
void for_each_line(std::string_view text, const F& f) {
  std::int64_t number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    f(text.substr(at, end - at), ++number);
    at = end + 1;
  }
}

struct Sorted {
  std::string kept;
  std::int64_t foreign = 0, first_foreign = 0;  // lines, and the number of the first
  std::int64_t later = 0;                       // lines after the step
};

Sorted sort_lines(std::string_view text, std::int64_t last_step) {
  Sorted sorted;
  for_each_line(text, [&](std::string_view line, std::int64_t number) {
    const std::optional<MetricsLine> parsed = parse_line(line);
    if (!parsed) {
      if (++sorted.foreign == 1) sorted.first_foreign = number;
    } else if (parsed->step > last_step) {
      ++sorted.later;
    } else {
      sorted.kept.append(line) += '\n';
    }
  });
  return sorted;
}

fs::path free_backup(const fs::path& path) {
  std::error_code error;
  fs::path backup = path.string() + ".bak";
  for (int i = 2; fs::exists(fs::symlink_status(backup, error)); ++i) {
    backup = path.string() + ".bak" + std::to_string(i);
  }
  return backup;
}

}  // namespace

std::string continue_metrics(const fs::path& from, const fs::path& to, std::int64_t last_step, LaterLines later) {
  std::error_code error;
  if (!fs::exists(from, error)) return {};
  constexpr std::size_t kMaxBytes = std::size_t{1} << 31U;
  const std::string text = read_text(from, kMaxBytes);
  const Sorted sorted = sort_lines(text, last_step);
  const bool same = fs::equivalent(from, to, error);
  std::string note;
  if (sorted.foreign > 0) {
    note = from.string() + ": " + count_text(sorted.foreign, "line") + " (the first is line " +
           std::to_string(sorted.first_foreign) + ") " + "cannot be read as metrics of a run and " +
           (sorted.foreign == 1 ? "is" : "are") + " left out";
  }
  if (same && (sorted.foreign > 0 || (sorted.later > 0 && later == LaterLines::back_up))) {
    const fs::path backup = free_backup(to);
    write_file_atomic(backup, text);
    note +=
        (note.empty() ? from.string() + ": the lines after step " + std::to_string(last_step) + " are left out" : "") +
        std::string("; the file as it was is ") + backup.filename().string();
  }
  if (!same || sorted.kept != text) write_file_atomic(to, sorted.kept);
  return note;
}

Metrics read_metrics(const fs::path& path) {
  const MappedFile file = MappedFile::open(path);
  Metrics metrics;
  std::map<std::int64_t, MetricsLine> by_step;
  for_each_line(file.text(), [&](std::string_view line, std::int64_t) {
    if (const std::optional<MetricsLine> parsed = parse_line(line)) {
      by_step[parsed->step] = *parsed;
    } else {
      ++metrics.foreign;
    }
  });
  for (const auto& [step, line] : by_step) metrics.lines.push_back(line);
  return metrics;
}

}  // namespace mixgrad
