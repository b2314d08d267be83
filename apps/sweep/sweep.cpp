#include "apps/sweep/sweep.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "apps/options/verb.h"
#include "apps/output/error_line.h"
#include "apps/process/child.h"
#include "apps/process/signals.h"
#include "core/error.h"
#include "core/system/interrupt.h"
#include "core/text/parse_number.h"
#include "core/text/plural.h"
#include "nn/files/file.h"
#include "nn/files/folder.h"
#include "nn/files/generations.h"
#include "nn/training/checkpoint.h"

namespace mixgrad::app {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kStateFile = "sweep.json";
constexpr std::size_t kMostStateBytes = std::size_t{1} << 26U;

// What the sweep is, as sweep.json holds it: the options of each run by its name.
Json state_of(const std::vector<SweepRun>& runs) {
  Json state{{"format", "mixgrad-sweep-1"}, {"runs", Json::object()}};
  for (const SweepRun& run : runs) {
    Json options = Json::object();
    for (const auto& [name, value] : run.options) options[name] = value;
    state["runs"][run.name] = options;
  }
  return state;
}

// Options of a run that decide how long a step takes and what it needs; the seed does not.
std::string cost_key(const SweepRun& run) {
  std::string key;
  for (const auto& [name, value] : run.options) {
    if (name != "seed") key.append(name).append("=").append(value).append("\n");
  }
  return key;
}

}  // namespace

Sweep::Sweep(SweepOptions options) : options_(std::move(options)), runs_(read_sweep(options_.config)) {
  const fs::path file = fs::path(options_.out) / kStateFile;
  std::error_code error;
  if (!fs::exists(file, error)) {
    if (!free_for_file(options_.out, kStateFile)) {
      raise<ValueError>("--out must be a folder that is new, empty or of this sweep; ", options_.out,
                        " holds something else");
    }
    return;
  }
  Json stored;
  try {
    stored = Json::parse(read_text(file, kMostStateBytes, Pipes::refuse));
  } catch (const Json::parse_error&) {
    raise<FormatError>(file.string(), ": JSON is required; correct the file, or take another --out");
  }
  if (stored != state_of(runs_)) {
    raise<ValueError>("--out ", options_.out, " holds a sweep with other options than ", options_.config,
                      "; take another folder, or give the config file as it was");
  }
}

std::string Sweep::folder(const SweepRun& run) const { return (fs::path(options_.out) / run.name).string(); }

bool Sweep::is_done(const SweepRun& run) const {
  const fs::path folder_path = folder(run);
  std::error_code error;
  return fs::exists(folder_path / "done", error) && holds_run(folder_path);
}

std::vector<std::string> Sweep::command(const SweepRun& run) const {
  const std::vector<std::string> common{of_child("sample-tokens"), "0"};
  if (holds_run(folder(run))) {
    std::vector<std::string> words{"train", of_child("resume"), folder(run)};
    words.insert(words.end(), common.begin(), common.end());
    return words;
  }
  std::vector<std::string> words{"train"};
  const std::vector<std::string> own = run.arguments({of_child("out"), folder(run)});
  words.insert(words.end(), own.begin(), own.end());
  words.insert(words.end(), common.begin(), common.end());
  return words;
}

void Sweep::check() const {
  std::set<std::string> seen;
  for (const SweepRun& run : runs_) {
    check_interrupt();
    if (holds_run(folder(run)) || !seen.insert(cost_key(run)).second) continue;
    std::vector<std::string> words{"train"};
    const std::vector<std::string> own = run.arguments({of_child("plan"), of_child("json")});
    words.insert(words.end(), own.begin(), own.end());
    const ChildOutput planned = run_child(words);
    if (planned.code != kOk) raise<ValueError>(run.name, ": ", error_of(planned));
  }
}

std::vector<SweepCost> Sweep::costs() const {
  std::map<std::string, SweepCost> known;
  std::vector<SweepCost> costs;
  for (const SweepRun& run : runs_) {
    check_interrupt();
    const std::string key = cost_key(run);
    if (known.count(key) == 0) {
      SweepCost cost;
      std::vector<std::string> plan{"train"};
      const std::vector<std::string> own = run.arguments({of_child("plan"), of_child("json")});
      plan.insert(plan.end(), own.begin(), own.end());
      const ChildOutput planned = run_child(plan);
      if (planned.code != kOk) raise<ValueError>(run.name, ": ", error_of(planned));
      cost.bytes = Json::parse(planned.out).at("peak").get<std::uint64_t>();
      std::vector<std::string> bench{"bench", "train", of_child("rounds"), "3", of_child("json")};
      for (const auto& [name, value] : run.options) {
        if (options_.of_bench.count(name) > 0) bench.push_back(option_word(name, value));
      }
      const ChildOutput timed = run_child(bench);
      const double steps = static_cast<double>(mixgrad::parse_integer(run.option("steps")).value_or(0));
      cost.minutes = timed.code == kOk ? Json::parse(timed.out).at("ms_per_step").get<double>() * steps / 6e4 : -1;
      known[key] = cost;
    }
    costs.push_back(known[key]);
  }
  return costs;
}

// The folder is this sweep's by now.
void Sweep::write_state() const {
  remove_unfinished(options_.out, kStateFile);
  write_file_atomic(fs::path(options_.out) / kStateFile, state_of(runs_).dump(2) + "\n");
}

std::vector<std::string> Sweep::run() const {
  fs::create_directories(options_.out);
  const FolderLock lock(options_.out, "another mixgrad sweep");
  write_state();
  std::vector<std::string> failed;
  struct Child {
    pid_t id;
    const SweepRun* run;
  };
  std::vector<Child> under_way;
  std::size_t next = 0;
  bool stopping = false;
  const SignalScope signals;
  while (next < runs_.size() || !under_way.empty()) {
    if (interrupt_requested() != 0 && !stopping) {
      stopping = true;
      say("stopping: the runs under way save first");
      for (const Child& child : under_way) kill(child.id, SIGTERM);
    }
    while (!stopping && next < runs_.size() && static_cast<std::int64_t>(under_way.size()) < options_.jobs) {
      const SweepRun& run = runs_[next++];
      if (is_done(run)) continue;
      const bool resumes = holds_run(folder(run));
      if (!resumes) fs::remove_all(folder(run));  // of a run that was killed before it had saved anything
      under_way.push_back({start_child(command(run), folder(run) + ".log"), &run});
      say(run.name + ": " + (resumes ? "resumed" : "begun") + ", run " + std::to_string(next) + " of " +
          std::to_string(runs_.size()));
    }
    for (std::size_t i = 0; i < under_way.size();) {
      const int code = child_code(under_way[i].id);
      if (code < 0) {
        ++i;
        continue;
      }
      const SweepRun& run = *under_way[i].run;
      under_way.erase(under_way.begin() + static_cast<std::ptrdiff_t>(i));
      if (code == kOk) {
        write_file_atomic(fs::path(folder(run)) / "done", "");
        say(run.name + ": done");
      } else if (!stopping) {
        failed.push_back(run.name);
        say(run.name + ": failed with exit code " + std::to_string(code) + ", see " + folder(run) + ".log");
      }
    }
    if (stopping && under_way.empty()) throw Interrupted{interrupt_requested()};
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return failed;
}

}  // namespace mixgrad::app
