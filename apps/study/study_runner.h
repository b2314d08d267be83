// Runs the rows of a study: the steps of a row one after the other, several rows at a time, each step a process of its
// own. A study that was stopped or killed continues where it was: a step that is done has a file STEP.done beside its
// log, and a run of train that has saved something is resumed.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/study/study_plan.h"
#include "nn/files/folder.h"

namespace mixgrad::app {

class StudyRunner {
 public:
  // ValueError when `out` holds something else, or a study with another config; IoError. Writes nothing.
  StudyRunner(const StudyPlan& plan, std::string out, std::int64_t jobs);

  // ValueError with what `train --plan` says when a row's options of train are refused. Of a study that has not begun.
  void check() const;

  bool is_done(const StudyRow& row) const;

  // Runs what is not done, in a folder that belongs to this process from then on (IoError while another study runs in
  // it); says on stderr what begins and ends. Returns the names of the rows that failed, each with
  // the log to look at. Interrupted when a stop was requested: the runs under way have saved then.
  std::vector<std::string> run();

  // What a step of a row that is done printed: the last line of its log that is a JSON object.
  nlohmann::ordered_json result(const StudyRow& row, const std::string& step) const;

 private:
  bool begun() const;
  void require_own_folder() const;
  void take_folder();
  std::string path(const StudyRow& row, const std::string& file) const;
  bool step_done(const StudyRow& row, const StudyStep& step) const;
  std::vector<std::string> command(const StudyRow& row, const StudyStep& step) const;

  const StudyPlan& plan_;
  std::string out_;
  std::int64_t jobs_;
  std::unique_ptr<FolderLock> lock_;
};

}  // namespace mixgrad::app
