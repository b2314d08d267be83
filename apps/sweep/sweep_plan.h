// What a sweep is to run: a config file of `train` in which options may have several values.
//   preset = "char"
//   mixer  = ["attention", "hsm:scalar"]
//   seed   = [1, 2, 3]
// is six runs: every choice of one value from each array, the last array changing fastest.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace mixgrad::app {

struct SweepRun {
  std::string name;                                          // of its folder: "mixer=hsm_scalar,seed=2"
  std::vector<std::pair<std::string, std::string>> options;  // in the order of the file
  std::string option(const std::string& key) const;          // "" = not there

  // The words of a command line; `more` follows.
  std::vector<std::string> arguments(const std::vector<std::string>& more) const;
};

// "--name=value"
std::string option_word(const std::string& name, const std::string& value);

// ValueError with file and line for what is no option of train or belongs to the sweep (out, resume, json, ...), for an
// array with the same value twice and for more than 10,000 runs; IoError when the file cannot be read.
std::vector<SweepRun> read_sweep(const std::string& path);

}  // namespace mixgrad::app
