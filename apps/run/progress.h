// The progress of a run: one line on stderr, rewritten in place on a terminal, as wide as that is, and printed every
// few seconds elsewhere, and a JSON line per logged step in metrics.jsonl and, with --json, on stdout.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>

#include "nn/files/folder.h"

namespace mixgrad::app {

struct StepLog {
  std::int64_t step = 0;  // steps done
  double loss = 0;
  std::optional<double> val_loss;
  std::optional<double> accuracy;  // of an evaluation on a task
  double lr = 0;
  double grad_norm = 0;
  double tokens_per_s = 0;
  std::string objective = {};  // what `loss` is, where it is not the loss of the model
};

class Progress {
 public:
  // Appends to `metrics` (IoError when it cannot be opened). The run goes from step `first` to `steps`.
  Progress(std::int64_t steps, std::int64_t first, const std::filesystem::path& metrics, bool json_to_stdout);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void log(const StepLog& entry);  // the line of --json: as flush_stdout()
  void finish();                   // clears the live line, before anything else is printed

 private:
  std::string text_of(const StepLog& entry, double left, std::size_t columns) const;

  std::int64_t steps_, first_;
  LineFile metrics_;
  bool json_;
  bool terminal_;
  bool open_line_ = false;
  double start_;
  double last_plain_ = 0;
  std::optional<double> val_loss_, accuracy_;  // of the last evaluation
};

}  // namespace mixgrad::app
