#include "nn/files/generations.h"

#include <algorithm>
#include <system_error>

#include "core/error.h"
#include "core/text/parse_number.h"
#include "nn/files/file.h"
#include "nn/files/folder.h"
#include "nn/files/strict_json.h"

namespace mixgrad {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrefix = "step-";
constexpr std::uintmax_t kMaxNameBytes = 64;  // of a text file `latest`

fs::path scratch_of(const fs::path& run, std::int64_t step) { return run / ("." + generation_name(step) + ".tmp"); }

// Hidden by one rename first: a crash while it is removed leaves no half generation.
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

// A number of trainer.json, such as lineage.course; nothing when it has none, as that of version 0.1, or cannot be
// read.
std::optional<std::int64_t> trainer_number(const fs::path& generation, const char* object, const char* key) {
  try {
    const nlohmann::json root = nlohmann::json::parse(read_text(generation / "trainer.json"));
    return root.at(object).at(key).get<std::int64_t>();
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

std::int64_t course_of(const fs::path& generation) {
  return trainer_number(generation, "lineage", "course").value_or(0);
}

// The folder in which DIR/latest or DIR/best stands, whatever slashes and "." follow; nothing for another name. A ".."
// before it stays, because the system looks for it behind a link.
std::optional<fs::path> folder_of_link(const fs::path& path, std::string_view name) {
  fs::path whole = path;
  while ((!whole.has_filename() || whole.filename() == ".") && whole.has_parent_path() &&
         whole != whole.parent_path()) {
    whole = whole.parent_path();
  }
  if (whole.filename() != name) return std::nullopt;
  return whole.has_parent_path() ? whole.parent_path() : fs::path(".");
}

// The generation that a text file names, as a zip from elsewhere or a file system without links has `latest` and
// `best`; nothing when it is not such a file.
std::optional<fs::path> named_by_text(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error) || fs::file_size(path, error) >= kMaxNameBytes) return std::nullopt;
  std::string name = read_text(path);
  name.erase(name.find_last_not_of(" \t\r\n") + 1);
  const fs::path generation = path.parent_path() / name;
  if (!generation_step(name) || !holds_checkpoint(generation)) return std::nullopt;
  return generation;
}

// Whether a link DIR/latest or DIR/best points into another folder: a copy of a run whose link is absolute still points
// to the original, which the copy does not mean.
bool leads_out_of(const fs::path& run, const fs::path& named) {
  return canonical_folder(named).parent_path() != canonical_folder(run);
}

// "step-10, step-20"
std::string names_here(const fs::path& run) {
  std::string here;
  for (const std::int64_t step : generations(run)) here += (here.empty() ? "" : ", ") + generation_name(step);
  return here;
}

// The generation of this run that has the step of such a link DIR/best; nothing where that is all there is of a run.
// IoError when the run has other generations, but not this one.
std::optional<fs::path> own_of_best(const fs::path& path) {
  const std::optional<fs::path> run = folder_of_link(path, "best");
  if (!run || !holds_checkpoint(path) || !leads_out_of(*run, path)) return std::nullopt;
  const fs::path own = *run / canonical_folder(path).filename();
  if (holds_checkpoint(own)) return own;
  if (generations(*run).empty()) return std::nullopt;
  raise<IoError>(path.string(), ": a best generation in the folder of the link is required; it names ",
                 own.filename().string(), " of another folder, and there is no ", own.filename().string(),
                 " here; give one that is: ", names_here(*run));
}

// The step that trainer.json of the newest generation calls the best.
std::optional<std::int64_t> best_step(const fs::path& run) {
  const std::optional<GenerationId> newest = newest_generation(run);
  return newest ? trainer_number(run / generation_name(newest->step), "best", "step") : std::nullopt;
}

// Of DIR/best where there is no such link: in a run of version 0.1, or after a copy that lost it.
std::optional<fs::path> generation_of_best(const fs::path& path) {
  const std::optional<fs::path> run = folder_of_link(path, "best");
  const std::optional<std::int64_t> step = run ? best_step(*run) : std::nullopt;
  if (!step || !holds_checkpoint(*run / generation_name(*step))) return std::nullopt;
  return *run / generation_name(*step);
}

[[noreturn]] void refuse_missing(const fs::path& path) {
  const std::optional<fs::path> run = folder_of_link(path, "best");
  if (run && !generations(*run).empty()) {
    const std::optional<std::int64_t> best = best_step(*run);
    raise<IoError>(path.string(), ": the run has no best generation here: ",
                   best ? generation_name(*best) + " had the lowest validation loss and is not in this folder"
                        : std::string("no evaluation counted yet"),
                   "; give one that is: ", names_here(*run));
  }
  raise<IoError>(path.empty() ? "\"\"" : path.string(),
                 ": a checkpoint is required (a folder with config.json and model.safetensors, or a ",
                 "run with latest -> step-N), found none; give the folder of a training run");
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
  const std::optional<fs::path> run = folder_of_link(path, "latest");
  if (run && !generations(*run).empty()) return find_generation(*run);
  if (const std::optional<fs::path> own = own_of_best(path)) return canonical_folder(*own);
  if (holds_checkpoint(path)) return canonical_folder(path);
  if (const std::optional<fs::path> named = named_by_text(path)) return canonical_folder(*named);
  const fs::path latest = path / "latest";
  const std::optional<GenerationId> newest = newest_generation(path);
  auto named = holds_checkpoint(latest) ? std::optional(latest) : named_by_text(latest);
  if (named && newest && leads_out_of(path, *named)) named.reset();
  // A crash between the first save of another course and the swap of `latest` leaves the course that was left.
  if (named && (!newest || newest->course <= course_of(*named))) return canonical_folder(*named);
  if (newest) return canonical_folder(path / generation_name(newest->step));
  if (const std::optional<fs::path> best = generation_of_best(path)) return canonical_folder(*best);
  refuse_missing(path);
}

std::optional<fs::path> generation_named_by_link(const fs::path& path) {
  if (!folder_of_link(path, "latest") && !folder_of_link(path, "best")) return std::nullopt;
  try {
    return find_generation(path);
  } catch (const IoError&) {
    return std::nullopt;
  }
}

std::optional<GenerationId> newest_generation(const fs::path& run) {
  std::optional<GenerationId> newest;
  for (const std::int64_t step : generations(run)) {
    newest = std::max(newest, std::optional(GenerationId{course_of(run / generation_name(step)), step}));
  }
  return newest;
}

std::optional<fs::path> run_of(const fs::path& generation) {
  const fs::path whole = canonical_folder(generation);
  const std::string name = whole.filename().string();
  if (name != "latest" && name != "best" && !generation_step(name)) return std::nullopt;
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

void point_best(const fs::path& run, std::optional<std::int64_t> step) {
  const fs::path best = run / "best";
  std::error_code error;
  if (step && holds_checkpoint(run / generation_name(*step))) {
    if (fs::read_symlink(best, error) == generation_name(*step) && !error) return;
    replace_link(best, generation_name(*step));
    sync_folder(run);
  } else if (!fs::is_directory(fs::symlink_status(best, error))) {
    fs::remove(best, error);
  }
}

void prune_generations(const fs::path& run, std::int64_t step, const std::vector<std::optional<std::int64_t>>& keep) {
  for (const std::int64_t other : generations(run)) {
    if (other >= step || std::find(keep.begin(), keep.end(), other) != keep.end()) continue;
    remove_generation(run, other);
  }
}

void sweep_leftovers(const fs::path& run) {
  std::error_code error;
  std::vector<fs::path> leftovers;
  for (auto item = fs::directory_iterator(run, error); !error && item != fs::directory_iterator();
       item.increment(error)) {
    const std::string name = item->path().filename().string();
    const bool scratch = name.starts_with(".step-") && (name.ends_with(".tmp") || name.ends_with(".tmp.old"));
    const bool metrics = name.starts_with(".metrics.jsonl.") && name.find(".tmp-") != name.npos;  // and of its backups
    if (scratch || name == ".latest.tmp" || name == ".best.tmp" || metrics) leftovers.push_back(item->path());
  }
  for (const fs::path& leftover : leftovers) remove_folder(leftover);
}

}  // namespace mixgrad
