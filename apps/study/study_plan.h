// What a study of conversions is to run: one base model, what its heads become, how many of them, and seeds.
//
//   # study.toml
//   checkpoint = "runs/base"            # {seed} in it stands for the seed: a base for each
//   variants   = ["recurformer", "random", "lowest", "window", "shift"]
//   fractions  = [0.25, 0.5]
//   seeds      = [1, 2, 3]
//   new-lr-scale = 2                    # the new heads learn at twice the rate of what was kept
//   steps      = 300                    # this and every key that is not the study's own is an option of train
//
// Rows: the base, the base trained on as long, and each variant at each fraction, for every seed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mixgrad::app {

// One command of a row, whose result is the last line of its log that is a JSON object.
struct StudyStep {
  std::string name;                    // "convert", "heads", "train", "eval", "eval-1"
  std::vector<std::string> arguments;  // of the program
  std::string run;                     // of train: its folder, in which a stopped run is resumed; else ""
  std::string made;                    // a folder that the command makes and that is removed before a second try
};

struct StudyRow {
  std::string name;     // of its folder: "recurformer-0.5-seed1"
  std::string variant;  // "base", "longer", or one of the config's
  double fraction = 0;  // of the groups that are replaced
  std::int64_t seed = 0;
  std::vector<StudyStep> steps;
  std::string model;  // the folder that is measured
};

struct StudyPlan {
  std::vector<StudyRow> rows;
  std::vector<StudyStep> checks;        // commands that refuse options of train before the first row, and run nothing
  std::vector<std::string> eval_tasks;  // further tasks on which each row is scored
  std::vector<std::int64_t> timing_lengths;  // tokens before the timed ones
  std::string text;                          // the config as given, by which a folder is recognised
};

// The kinds of rows beside the base and the base trained on.
const std::vector<std::string>& study_variants();

// ValueError with file and line for a key or value that a study cannot have; IoError.
StudyPlan read_study(const std::string& config, const std::string& out, std::int64_t jobs);

// The command line that makes a row, as a user would type it; steps are joined by &&.
std::string study_command(const StudyRow& row);

}  // namespace mixgrad::app
