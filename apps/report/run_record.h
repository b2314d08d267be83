// A run as reports and comparisons read it: its options, its metrics, and what its model costs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "nn/files/metrics_file.h"
#include "nn/model/decoder.h"
#include "nn/training/trainer_state.h"

namespace mixgrad::app {

struct RunRecord {
  std::string name;  // of its folder; where several runs have one name, the path as it was given
  std::string path;
  std::map<std::string, std::string> options;  // as the run stores them
  std::string config;                          // config.json
  std::vector<MetricsLine> lines;              // by step
  std::int64_t foreign_lines = 0;              // of metrics.jsonl, left out
  std::int64_t step = 0, steps = 0;            // done, and of the whole run
  std::int64_t tokens_per_step = 0;
  std::optional<TrainerState::Best> best;  // of the evaluations
  std::int64_t parameters = 0;
  double operations = 0;         // forward, for each token at full context
  std::int64_t state_bytes = 0;  // of one sequence at full context while decoding, in the type of the parameters
  std::vector<LayerReport> layers;

  // What runs are compared by: the best validation loss, or, of a run without evaluations, the loss of its last step.
  double loss() const;
  bool has_validation() const { return best.has_value(); }
  // Median over the lines, of the tokens a second; NaN without any.
  double ms_per_step() const;
  // Of training, from tokens a second of the lines; evaluations and saving are not in it.
  double seconds() const;
};

// Reads the newest generation of each run. A folder that holds runs, such as that of a sweep, stands for all of them;
// files among the paths are left out, and counted on stderr. FormatError, IoError: what is wrong with which file.
std::vector<RunRecord> read_runs(const std::vector<std::string>& paths);

}  // namespace mixgrad::app
