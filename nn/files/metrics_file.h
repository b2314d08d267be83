// metrics.jsonl of a run: its lines for reports, and, when the run is resumed, those up to the step from which it
// continues.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

namespace mixgrad {

// A line of metrics.jsonl. NaN: not measured at this step, or not finite.
struct MetricsLine {
  std::int64_t step = 0;
  double loss = std::numeric_limits<double>::quiet_NaN();      // of the step's batch, nats a target
  double val_loss = std::numeric_limits<double>::quiet_NaN();  // of an evaluation
  double lr = 0;
  double grad_norm = std::numeric_limits<double>::quiet_NaN();
  double tokens_per_s = std::numeric_limits<double>::quiet_NaN();
};

struct Metrics {
  std::vector<MetricsLine> lines;  // by step, ascending; of a step that stands there twice the later line
  std::int64_t foreign = 0;        // lines that are not of this program, which are left out
};

// IoError when the file cannot be read.
Metrics read_metrics(const std::filesystem::path& path);

// Whether the lines after that step are of generations that still exist, so that the file is kept as it was.
enum class LaterLines : std::uint8_t { drop, back_up };

// Copies the lines of `from` up to this step to `to`; both may be the same file. Lines that are not of this program
// (comments, empty, cut, other JSON) are left out, wherever they stand. When the file itself loses such lines, or later
// ones that are to be backed up, it is kept as it was as metrics.jsonl.bak (.bak2, ...). Returns a sentence about that,
// or nothing. Without a file `from` nothing happens.
std::string continue_metrics(const std::filesystem::path& from, const std::filesystem::path& to, std::int64_t last_step,
                             LaterLines later = LaterLines::drop);

}  // namespace mixgrad
