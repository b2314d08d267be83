#include "apps/sweep/sweep_plan.h"

#include <algorithm>
#include <set>

#include "apps/options/config_file.h"
#include "core/error.h"
#include "core/text/suggest.h"

namespace mixgrad::app {
namespace {

constexpr std::size_t kMostRuns = 10'000;

// Options of train that the sweep itself gives, or that would stop a run before its end.
const std::set<std::string>& options_of_sweep() {
  static const std::set<std::string> names{"out",           "resume",        "json",
                                           "plan",          "stop-after",    "print-config",
                                           "sample-tokens", "sample-prompt", "sample-temperature"};
  return names;
}

// A value as a part of a folder's name.
std::string name_of(const std::string& value) {
  std::string name;
  for (const char c : value) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '+';
    name += plain ? c : '_';
  }
  return name.empty() ? "none" : name;
}

}  // namespace

std::string SweepRun::option(const std::string& key) const {
  for (const auto& [own, value] : options) {
    if (own == key) return value;
  }
  return {};
}

std::string option_word(const std::string& name, const std::string& value) {
  std::string word = "--";
  return word.append(name).append("=").append(value);
}

std::vector<std::string> SweepRun::arguments(const std::vector<std::string>& more) const {
  std::vector<std::string> words;
  for (const auto& [key, value] : options) words.push_back(option_word(key, value));
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

std::vector<SweepRun> read_sweep(const std::string& path) {
  const std::vector<ConfigEntry> entries = read_config(path, "train");
  std::vector<SweepRun> runs(1);
  for (const ConfigEntry& entry : entries) {
    const std::string position = "--config " + path + " line " + std::to_string(entry.line) + ": ";
    if (options_of_sweep().count(entry.key) > 0) {
      raise<ValueError>(position, entry.key, " cannot be given here: the sweep gives it to each run; leave it out");
    }
    const std::vector<std::string> values = entry.values.empty() ? std::vector{entry.value} : entry.values;
    if (std::set<std::string>(values.begin(), values.end()).size() < values.size()) {
      raise<ValueError>(position, "the values of ", entry.key, " must differ, since each is a run of its own");
    }
    if (runs.size() * values.size() > kMostRuns) {
      raise<ValueError>(position, "at most ", kMostRuns, " runs are allowed; this array makes ",
                        runs.size() * values.size(), "; give fewer values");
    }
    std::vector<SweepRun> more;
    for (const SweepRun& run : runs) {
      for (const std::string& value : values) {
        SweepRun next = run;
        next.options.emplace_back(entry.key, value);
        if (values.size() > 1) next.name += (next.name.empty() ? "" : ",") + entry.key + "=" + name_of(value);
        more.push_back(std::move(next));
      }
    }
    runs = std::move(more);
  }
  std::set<std::string> names;
  for (SweepRun& run : runs) {
    if (run.name.empty()) run.name = "run";
    const std::string stem = run.name;
    for (int i = 2; !names.insert(run.name).second; ++i) run.name = stem + "_" + std::to_string(i);
  }
  return runs;
}

}  // namespace mixgrad::app
