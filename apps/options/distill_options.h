// The options of training on a teacher (nn/analysis/conversion/distillation.h).
#pragma once

#include <string>

#include "apps/options/option_set.h"
#include "nn/analysis/conversion/distillation.h"

namespace mixgrad::app {

struct DistillSettings {
  std::string teacher;  // "" = none
  std::string stage = "logits";
  double temperature = 2, mix = 0.5;

  void declare(OptionSet& options);
  bool any() const { return !teacher.empty(); }
  DistillOptions values() const;
};

}  // namespace mixgrad::app
