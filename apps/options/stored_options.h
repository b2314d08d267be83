// The options that a run stores, so that it can be resumed: implemented by a verb that resumes runs (train).
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace mixgrad::app {

using OptionTexts = std::vector<std::pair<std::string, std::string>>;  // option, value as text

// Which options a run stores, and whether a resumed run may change them, is an attribute of the option (OnResume).
class StoredOptions {
 public:
  virtual ~StoredOptions() = default;
  // The values stored by the run that is to be resumed; empty when none is. Called once, after the options given on the
  // command line and in the config file are set.
  virtual OptionTexts load() = 0;
  // The final values of all options that a run stores.
  virtual void store(const OptionTexts& values) = 0;
};

}  // namespace mixgrad::app
