// Progress of a run: one line on stderr, rewritten in place on a terminal, a plain line now and then elsewhere; and a
// JSON line per logged step in metrics.jsonl and, with --json, on stdout.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>

namespace mixgrad::app {

struct StepLog {
  std::int64_t step = 0;  // steps done
  double loss = 0;
  std::optional<double> val_loss;
  double lr = 0;
  double grad_norm = 0;
  double tokens_per_s = 0;
};

class Progress {
 public:
  // Appends to `metrics` (IoError when it cannot be opened).
  Progress(std::int64_t steps, const std::filesystem::path& metrics, bool json_to_stdout);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void log(const StepLog& entry);
  void finish();  // ends the live line

 private:
  std::int64_t steps_;
  std::filesystem::path metrics_path_;
  std::FILE* metrics_;
  bool json_;
  bool terminal_;
  bool open_line_ = false;
  double start_;
  double last_plain_ = 0;
  std::optional<double> val_loss_;  // the last one known
};

}  // namespace mixgrad::app
