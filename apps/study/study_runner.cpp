#include "apps/study/study_runner.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>
#include <utility>

#include "apps/options/verb.h"
#include "apps/output/error_line.h"
#include "apps/process/child.h"
#include "apps/process/signals.h"
#include "core/error.h"
#include "core/system/interrupt.h"
#include "nn/files/file.h"
#include "nn/files/generations.h"

namespace mixgrad::app {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kStateFile = "study.json";
constexpr std::size_t kMostBytes = std::size_t{1} << 28U;

Json state_of(const StudyPlan& plan) { return {{"format", "mixgrad-study-1"}, {"config", plan.text}}; }

}  // namespace

StudyRunner::StudyRunner(const StudyPlan& plan, std::string out, std::int64_t jobs)
    : plan_(plan), out_(std::move(out)), jobs_(jobs) {
  require_own_folder();
}

bool StudyRunner::begun() const {
  std::error_code error;
  return fs::exists(fs::path(out_) / kStateFile, error);
}

void StudyRunner::require_own_folder() const {
  if (!begun()) {
    if (!free_for_file(out_, kStateFile)) {
      raise<ValueError>("--out must be a folder that is new, empty or of this study; ", out_, " holds something else");
    }
    return;
  }
  const Json stored = Json::parse(read_text(fs::path(out_) / kStateFile, kMostBytes, Pipes::refuse), nullptr, false);
  if (stored != state_of(plan_)) {
    raise<ValueError>("--out ", out_, " holds a study with another config; take another folder, or give the config ",
                      "file as it was");
  }
}

void StudyRunner::check() const {
  if (begun()) return;
  for (const StudyStep& step : plan_.checks) {
    check_interrupt();
    const ChildOutput planned = run_child(step.arguments);
    if (planned.code != kOk) raise<ValueError>("the rows' train would fail: ", error_of(planned));
  }
}

void StudyRunner::take_folder() {
  make_folder(out_);
  lock_ = std::make_unique<FolderLock>(out_, "another mixgrad study");
  require_own_folder();  // another process may have begun a study since
  remove_unfinished(out_, kStateFile);
  if (!begun()) write_file_atomic(fs::path(out_) / kStateFile, state_of(plan_).dump(2) + "\n");
}

std::string StudyRunner::path(const StudyRow& row, const std::string& file) const {
  return (fs::path(out_) / row.name / file).string();
}

bool StudyRunner::step_done(const StudyRow& row, const StudyStep& step) const {
  std::error_code error;
  return fs::exists(path(row, step.name + ".done"), error);
}

bool StudyRunner::is_done(const StudyRow& row) const {
  return std::all_of(row.steps.begin(), row.steps.end(), [&](const StudyStep& step) { return step_done(row, step); });
}

std::vector<std::string> StudyRunner::command(const StudyRow& row, const StudyStep& step) const {
  std::error_code error;
  if (!step.run.empty() && holds_run(step.run)) return {"train", of_child("resume"), step.run, of_child("json")};
  if (!step.run.empty()) fs::remove_all(step.run, error);  // of a run that was killed before it had saved anything
  if (!step.made.empty()) fs::remove_all(step.made, error);
  fs::create_directories(fs::path(out_) / row.name);
  return step.arguments;
}

std::vector<std::string> StudyRunner::run() {
  take_folder();
  struct UnderWay {
    const StudyRow* row;
    std::size_t step;
    pid_t child;
  };
  std::vector<UnderWay> under_way;
  std::vector<std::string> failed;
  std::size_t next = 0;
  bool stopping = false;
  const SignalScope signals;
  // The first step from `step` on that is not done; whether there is one.
  const auto start = [&](const StudyRow& row, std::size_t step) {
    while (step < row.steps.size() && step_done(row, row.steps[step])) ++step;
    if (step == row.steps.size()) return false;
    under_way.push_back(
        {&row, step, start_child(command(row, row.steps[step]), path(row, row.steps[step].name + ".log"))});
    return true;
  };
  while (next < plan_.rows.size() || !under_way.empty()) {
    if (interrupt_requested() != 0 && !stopping) {
      stopping = true;
      say("stopping: the runs under way save first");
      for (const UnderWay& one : under_way) kill(one.child, SIGTERM);
    }
    while (!stopping && next < plan_.rows.size() && static_cast<std::int64_t>(under_way.size()) < jobs_) {
      const StudyRow& row = plan_.rows[next++];
      if (start(row, 0)) {
        say(row.name + ": begun, row " + std::to_string(next) + " of " + std::to_string(plan_.rows.size()));
      }
    }
    for (std::size_t i = 0; i < under_way.size();) {
      const int code = child_code(under_way[i].child);
      if (code < 0) {
        ++i;
        continue;
      }
      const UnderWay ended = under_way[i];
      under_way.erase(under_way.begin() + static_cast<std::ptrdiff_t>(i));
      const std::string& step = ended.row->steps[ended.step].name;
      if (code != kOk) {
        if (stopping) continue;
        failed.push_back(ended.row->name);
        say(ended.row->name + ": " + step + " failed with exit code " + std::to_string(code) + ", see " +
            path(*ended.row, step + ".log"));
        continue;
      }
      write_file_atomic(path(*ended.row, step + ".done"), "");
      if (!stopping && !start(*ended.row, ended.step + 1)) say(ended.row->name + ": done");
    }
    if (stopping && under_way.empty()) throw Interrupted{interrupt_requested()};
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return failed;
}

Json StudyRunner::result(const StudyRow& row, const std::string& step) const {
  const std::string text = read_text(path(row, step + ".log"), kMostBytes, Pipes::refuse);
  std::size_t end = text.size();
  while (end > 0) {
    const std::size_t begin = text.rfind('\n', end - 1) == std::string::npos ? 0 : text.rfind('\n', end - 1) + 1;
    if (begin < end && text[begin] == '{') {
      Json line = Json::parse(text.substr(begin, end - begin), nullptr, false);
      if (line.is_object()) return line;
    }
    if (begin == 0) break;
    end = begin - 1;
  }
  raise<FormatError>(path(row, step + ".log"), ": the result of the command is required; there is none; remove ",
                     path(row, step + ".done"), " and give the command again");
}

}  // namespace mixgrad::app
