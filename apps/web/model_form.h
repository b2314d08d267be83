// The form of the page: a preset and single values, under the names that they have on the command line.
//
//   const ModelForm form({{"preset", "char-hsm"}, {"values", {{"d-model", "64"}}}});
//   form.model().config(65);   form.training().trainer_options();
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "apps/options/model_options.h"
#include "apps/options/training_options.h"

namespace mixgrad::app {

class ModelForm {
 public:
  using Json = nlohmann::ordered_json;

  // ValueError as the command line has it: an unknown preset or option, a value outside its range, an option without
  // effect, options that do not fit together.
  explicit ModelForm(const Json& request);

  const ModelOptions& model() const { return model_; }
  const TrainingOptions& training() const { return training_; }
  // What does the same on a command line.
  const std::string& command() const { return command_; }

  // The options that the page may set, with their help and defaults, the presets, and the names of mixers.
  static Json describe();

 private:
  ModelForm();

  ModelOptions model_;
  TrainingOptions training_;
  OptionSet options_;
  std::string command_;
};

}  // namespace mixgrad::app
