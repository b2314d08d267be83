#include "apps/report/run_record.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "apps/output/error_line.h"
#include "core/error.h"
#include "core/text/parse_number.h"
#include "core/text/plural.h"
#include "core/text/suggest.h"
#include "nn/config/model_config.h"
#include "nn/files/file.h"
#include "nn/files/generations.h"
#include "nn/training/checkpoint.h"

namespace mixgrad::app {
namespace {

namespace fs = std::filesystem;

// An option that is a count; 1 where the run stored none.
std::int64_t count_of(const std::map<std::string, std::string>& options, const std::string& name) {
  const auto found = options.find(name);
  return found == options.end() ? 1 : mixgrad::parse_integer(found->second).value_or(1);
}

RunRecord read_run(const std::string& path) {
  const fs::path generation = find_generation(path);
  const fs::path run = run_of(generation).value_or(generation);
  const TrainerState state = load_trainer_state(generation);
  RunRecord record;
  record.path = path;
  record.name = fs::weakly_canonical(run).filename().string();
  record.options = state.options;
  record.step = state.step;
  record.steps = std::max(state.step, count_of(state.options, "steps"));
  record.best = state.best;
  record.config = std::string(MappedFile::open(generation / "config.json").text());
  const ModelConfig config = parse_model_config(record.config, (generation / "config.json").string());
  record.tokens_per_step = count_of(state.options, "batch") * count_of(state.options, "accumulate") * config.context;
  const Decoder model(config, {DType::f32, kCpu});
  record.layers = model.report();
  record.parameters = model.parameters().count();
  for (const LayerReport& layer : record.layers) {
    record.operations += layer.operations;
    record.state_bytes += static_cast<std::int64_t>(layer.state_bytes);
  }
  Metrics metrics = read_metrics(run / "metrics.jsonl");
  record.foreign_lines = metrics.foreign;
  // Lines beyond the newest generation are of steps that were not saved.
  for (const MetricsLine& line : metrics.lines) {
    if (line.step <= state.step) record.lines.push_back(line);
  }
  // An evaluation of the step that was saved comes after saving, so that only its line tells.
  for (const MetricsLine& line : record.lines) {
    if (std::isfinite(line.val_loss) && (!record.best || line.val_loss < record.best->val_loss)) {
      record.best = TrainerState::Best{line.step, line.val_loss};
    }
  }
  return record;
}

// The runs that a path means: itself; of a folder of runs, such as that of a sweep, those that lie in it, by name.
std::vector<std::string> runs_of(const std::string& path) {
  std::vector<std::string> runs;
  std::error_code error;
  if (fs::is_directory(path, error) && !holds_run(path) && !fs::exists(fs::path(path) / "config.json", error)) {
    for (const fs::directory_entry& entry : fs::directory_iterator(path, error)) {
      if (entry.is_directory(error) && holds_run(entry.path())) runs.push_back(entry.path().string());
    }
  }
  std::sort(runs.begin(), runs.end());
  return runs.empty() ? std::vector{path} : runs;
}

// A file beside the runs that a pattern of the shell has caught: a log, sweep.json. `latest` may be a file, too.
bool is_other_file(const std::string& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return false;
  try {
    find_generation(path);
    return false;
  } catch (const IoError&) {
    return true;
  }
}

// The paths of runs that were given, without files beside them, which a line on stderr counts.
std::vector<std::string> given_runs(const std::vector<std::string>& paths) {
  std::vector<std::string> runs;
  std::vector<std::string> left_out;
  for (const std::string& path : paths) {
    if (is_other_file(path)) {
      left_out.push_back(path);
      continue;
    }
    for (const std::string& run : runs_of(path)) runs.push_back(run);
  }
  if (runs.empty()) return paths;  // the reader says what is wrong with the first
  if (!left_out.empty()) {
    const auto count = static_cast<std::int64_t>(left_out.size());
    say("left out " + count_text(count, "file") + " beside the runs, " + (count > 1 ? "the first is " : "") +
        left_out.front());
  }
  return runs;
}

}  // namespace

double RunRecord::loss() const {
  if (best) return best->val_loss;
  return lines.empty() ? std::numeric_limits<double>::quiet_NaN() : lines.back().loss;
}

double RunRecord::ms_per_step() const {
  std::vector<double> times;
  for (const MetricsLine& line : lines) {
    if (line.tokens_per_s > 0) times.push_back(static_cast<double>(tokens_per_step) / line.tokens_per_s * 1e3);
  }
  if (times.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

double RunRecord::seconds() const {
  double total = 0;
  std::int64_t before = 0;
  for (const MetricsLine& line : lines) {
    if (line.tokens_per_s > 0) {
      total += static_cast<double>((line.step - before) * tokens_per_step) / line.tokens_per_s;
    }
    before = line.step;
  }
  return total;
}

std::vector<RunRecord> read_runs(const std::vector<std::string>& paths) {
  std::vector<RunRecord> runs;
  std::map<std::string, int> names;
  std::map<fs::path, std::string> given;
  for (const std::string& path : given_runs(paths)) {
    const auto [first, fresh] = given.emplace(find_generation(path), path);
    if (!fresh) {
      raise<ValueError>("a run must be given once: as two it would count as two seeds; ", quote(first->second), " and ",
                        quote(path), " are the same; leave one out");
    }
    runs.push_back(read_run(path));
    ++names[runs.back().name];
  }
  for (RunRecord& run : runs) {
    if (names[run.name] > 1) run.name = run.path;
  }
  return runs;
}

}  // namespace mixgrad::app
