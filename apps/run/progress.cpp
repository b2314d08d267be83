#include "apps/run/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "apps/output/clock.h"
#include "apps/output/json_line.h"
#include "apps/output/standard_output.h"

namespace mixgrad::app {
namespace {

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
      terminal_(isatty(STDERR_FILENO) == 1),
      start_(now()) {}

Progress::~Progress() { finish(); }

void Progress::log(const StepLog& entry) {
  const std::string line = line_of(entry);
  metrics_.append(line);
  if (json_) {
    std::fputs(line.c_str(), stdout);
    flush_stdout();
  }
  if (entry.val_loss) val_loss_ = entry.val_loss;
  const double elapsed = now() - start_;
  const bool last = entry.step == steps_;
  if (!terminal_ && !entry.val_loss && !last && elapsed - last_plain_ < kPlainSeconds) return;
  last_plain_ = elapsed;
  char val[32] = "-";
  if (val_loss_) std::snprintf(val, sizeof val, "%.4f", *val_loss_);
  char text[256];
  const double left = elapsed / static_cast<double>(std::max<std::int64_t>(entry.step - first_, 1)) *
                      static_cast<double>(steps_ - entry.step);
  std::snprintf(text, sizeof text, "step %lld/%lld  loss %.4f  val %s  lr %.2e  grad %.2f  %.0f tok/s  left %s",
                static_cast<long long>(entry.step), static_cast<long long>(steps_), entry.loss, val, entry.lr,
                entry.grad_norm, entry.tokens_per_s, duration(left).c_str());
  if (terminal_) {
    std::fprintf(stderr, "\r\033[K%s", text);
    open_line_ = true;
    if (entry.val_loss) finish();  // a line that stays
  } else {
    std::fprintf(stderr, "%s\n", text);
  }
  std::fflush(stderr);
}

void Progress::finish() {
  if (open_line_) std::fputs("\n", stderr);
  open_line_ = false;
}

}  // namespace mixgrad::app
