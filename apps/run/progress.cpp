#include "apps/run/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "apps/output/clock.h"
#include "apps/output/json_line.h"
#include "apps/output/standard_output.h"
#include "apps/output/terminal.h"

namespace mixgrad::app {
namespace {

constexpr std::size_t kAnyWidth = std::numeric_limits<std::size_t>::max();
constexpr double kPlainSeconds = 5;  // between two lines when stderr is not a terminal

std::string duration(double seconds) {
  const auto total = static_cast<std::int64_t>(std::ceil(seconds));
  char text[64];
  if (total >= 3600) {
    std::snprintf(text, sizeof text, "%lldh%02lldm", static_cast<long long>(total / 3600),
                  static_cast<long long>(total / 60 % 60));
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld", static_cast<long long>(total / 60),
                  static_cast<long long>(total % 60));
  }
  return text;
}

// The keys in their documented order.
std::string line_of(const StepLog& entry) {
  nlohmann::ordered_json line;
  line["step"] = entry.step;
  line["loss"] = entry.loss;
  if (entry.val_loss) {
    line["val_loss"] = *entry.val_loss;
  } else {
    line["val_loss"] = nullptr;
  }
  if (entry.accuracy) line["accuracy"] = *entry.accuracy;
  if (!entry.objective.empty()) line["objective"] = entry.objective;
  line["lr"] = entry.lr;
  line["grad_norm"] = entry.grad_norm;
  line["tokens_per_s"] = std::round(entry.tokens_per_s * 10) / 10;
  return json_line(line) + "\n";
}

}  // namespace

Progress::Progress(std::int64_t steps, std::int64_t first, const std::filesystem::path& metrics, bool json_to_stdout)
    : steps_(steps),
      first_(first),
      metrics_(metrics),
      json_(json_to_stdout),
      terminal_(rewrites_lines(STDERR_FILENO)),
      start_(now()) {}

Progress::~Progress() { finish(); }

void Progress::log(const StepLog& entry) {
  const std::string line = line_of(entry);
  metrics_.append(line);
  if (json_) {
    finish();  // the same terminal may show both
    std::fputs(line.c_str(), stdout);
    flush_stdout();
  }
  if (entry.val_loss) val_loss_ = entry.val_loss;
  if (entry.accuracy) accuracy_ = entry.accuracy;
  const double elapsed = now() - start_;
  const bool last = entry.step == steps_;
  if (!terminal_ && !entry.val_loss && !last && elapsed - last_plain_ < kPlainSeconds) return;
  last_plain_ = elapsed;
  const double left = elapsed / static_cast<double>(std::max<std::int64_t>(entry.step - first_, 1)) *
                      static_cast<double>(steps_ - entry.step);
  if (!terminal_) {
    std::fprintf(stderr, "%s\n", text_of(entry, left, kAnyWidth).c_str());
  } else {
    const std::string text = text_of(entry, left, terminal_columns(STDERR_FILENO) - 1);
    std::fprintf(stderr, "\r\033[K%s%s", text.c_str(), entry.val_loss ? "\n" : "");  // that of an evaluation stays
    open_line_ = !entry.val_loss;
  }
  std::fflush(stderr);
}

// Parts of the line in their order; where they do not fit, the least important ones are left out.
std::string Progress::text_of(const StepLog& entry, double left, std::size_t columns) const {
  struct Part {
    int rank;  // 0 is the last to go
    std::string text;
  };
  const auto number = [](const char* format, double value) {
    char text[64];
    std::snprintf(text, sizeof text, format, value);
    return std::string(text);
  };
  std::vector<Part> parts{
      {0, "step " + std::to_string(entry.step) + "/" + std::to_string(steps_)},
      {1, number("loss %.4f", entry.loss)},
      {3, "val " + (val_loss_ ? number("%.4f", *val_loss_) : "-")},
      {5, number("lr %.2e", entry.lr)},
      {6, number("grad %.2f", entry.grad_norm)},
      {4, number("%.0f tok/s", entry.tokens_per_s)},
      {2, "left " + duration(left)},
  };
  if (accuracy_) parts.insert(parts.begin() + 3, {3, number("right %.2f %%", 100 * *accuracy_)});
  const auto joined = [&] {
    std::string text;
    for (const Part& part : parts) text += (text.empty() ? "" : "  ") + part.text;
    return text;
  };
  while (parts.size() > 1 && joined().size() > columns) {
    parts.erase(std::max_element(parts.begin(), parts.end(), [](auto& a, auto& b) { return a.rank < b.rank; }));
  }
  return joined().substr(0, columns);
}

void Progress::finish() {
  if (!open_line_) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  open_line_ = false;
}

}  // namespace mixgrad::app
