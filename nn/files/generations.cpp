#include "nn/files/generations.h"

#include <algorithm>
#include <system_error>

#include "core/error.h"
#include "core/text/parse_number.h"
#include "nn/files/file.h"
#include "nn/files/folder.h"

namespace mixgrad {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrefix = "step-";
constexpr std::uintmax_t kMaxNameBytes = 64;  // of a text file `latest`

fs::path scratch_of(const fs::path& run, std::int64_t step) { return run / ("." + generation_name(step) + ".tmp"); }

// Out of sight in one step: a crash while it is removed leaves no half generation.
void remove_generation(const fs::path& run, std::int64_t step) {
  const fs::path scratch = scratch_of(run, step);
  remove_folder(scratch);
  rename_path(run / generation_name(step), scratch);
  remove_folder(scratch);
}

bool holds_checkpoint(const fs::path& folder) {
  std::error_code error;
  return fs::exists(folder / "config.json", error);
}

fs::path canonical_folder(const fs::path& path) {
  std::error_code error;
  const fs::path whole = fs::canonical(path, error);
  if (error) raise<IoError>(path.string(), ": finding the folder failed: ", error.message(), "; check the path");
  return whole;
}

void remove_quietly(const fs::path& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

}  // namespace

std::string generation_name(std::int64_t step) { return std::string(kPrefix) + std::to_string(step); }

std::optional<std::int64_t> generation_step(const std::string& name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const std::optional<std::int64_t> step = parse_integer(std::string_view(name).substr(kPrefix.size()));
  if (!step || *step < 0 || generation_name(*step) != name) return std::nullopt;
  return step;
}

std::vector<std::int64_t> generations(const fs::path& run) {
  std::vector<std::int64_t> steps;
  std::error_code error;
  for (auto item = fs::directory_iterator(run, error); !error && item != fs::directory_iterator();
       item.increment(error)) {
    const std::optional<std::int64_t> step = generation_step(item->path().filename().string());
    std::error_code ignored;
    if (step && item->is_directory(ignored)) steps.push_back(*step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

bool holds_run(const fs::path& run) {
  std::error_code error;
  return fs::exists(fs::symlink_status(run / "latest", error)) || !generations(run).empty();
}

fs::path find_generation(const fs::path& path) {
  if (holds_checkpoint(path)) return canonical_folder(path);
  const fs::path latest = path / "latest";
  if (holds_checkpoint(latest)) return canonical_folder(latest);
  std::error_code error;
  if (fs::is_regular_file(latest, error) && fs::file_size(latest, error) < kMaxNameBytes) {
    std::string name = read_text(latest);
    name.erase(name.find_last_not_of(" \t\r\n") + 1);
    if (generation_step(name) && holds_checkpoint(path / name)) return canonical_folder(path / name);
  }
  const std::vector<std::int64_t> steps = generations(path);
  if (steps.empty()) {
    raise<IoError>(path.string(), ": a checkpoint is required (a folder with config.json and model.safetensors, or a ",
                   "run with latest -> step-N), found none; give the --out folder of a training run");
  }
  return canonical_folder(path / generation_name(steps.back()));
}

std::optional<fs::path> run_of(const fs::path& generation) {
  const fs::path whole = canonical_folder(generation);
  const std::string name = whole.filename().string();
  if (name != "latest" && !generation_step(name)) return std::nullopt;
  return whole.parent_path();
}

void install_generation(const fs::path& run, std::int64_t step,
                        const std::function<void(const fs::path& scratch)>& fill) {
  const fs::path scratch = scratch_of(run, step);
  const fs::path target = run / generation_name(step);
  make_folder(run);
  remove_folder(scratch);
  make_folder(scratch);
  try {
    fill(scratch);
    sync_folder(scratch);
    std::error_code error;
    const bool again = fs::exists(fs::symlink_status(target, error));  // a run that was resumed before this step
    again ? exchange_paths(scratch, target) : rename_path(scratch, target);
  } catch (...) {
    remove_quietly(scratch);
    throw;
  }
  replace_link(run / "latest", generation_name(step));
  sync_folder(run);         // both names at once: a `latest` without its generation would only mean the highest one
  remove_quietly(scratch);  // what stood there before
}

void prune_generations(const fs::path& run, std::int64_t step, std::optional<std::int64_t> best) {
  std::vector<std::int64_t> steps = generations(run);
  std::erase_if(steps, [&](std::int64_t other) { return other > step; });
  if (steps.size() <= 2) return;
  steps.resize(steps.size() - 2);
  for (const std::int64_t old : steps) {
    if (old != best) remove_generation(run, old);
  }
}

void sweep_leftovers(const fs::path& run) {
  std::error_code error;
  std::vector<fs::path> leftovers;
  for (auto item = fs::directory_iterator(run, error); !error && item != fs::directory_iterator();
       item.increment(error)) {
    const std::string name = item->path().filename().string();
    const bool scratch = name.starts_with(".step-") && (name.ends_with(".tmp") || name.ends_with(".tmp.old"));
    if (scratch || name == ".latest.tmp" || name.starts_with(".metrics.jsonl.tmp-")) leftovers.push_back(item->path());
  }
  for (const fs::path& leftover : leftovers) remove_folder(leftover);
}

}  // namespace mixgrad
