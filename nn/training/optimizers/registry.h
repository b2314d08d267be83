// The optimizers by name: those of optimizers.def and those that a program registers at run time.
//
//   const auto optimizer = make_optimizer({.name = "adamw", .values = {{"beta2", 0.99}}}, model.parameters());
//
// A rule from outside the library derives from Optimizer and registers itself before its first use:
//
//   register_optimizer({.name = "sign", .summary = "the sign of the gradient", .options = {}, .make = make_sign});
#pragma once

#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "nn/training/optimizers/optimizer.h"

namespace mixgrad {

// The values that an option may have; both ends belong to the range unless they are excluded.
struct OptionRange {
  double low = 0;
  double high = std::numeric_limits<double>::infinity();
  bool low_excluded = false;
  bool high_excluded = false;

  friend bool operator==(const OptionRange&, const OptionRange&) = default;
};

// One number that an optimizer takes: --NAME of `mixgrad train`, a key of `options` in trainer.json.
struct OptimizerOption {
  std::string name;  // lower-case words joined by '-'
  double value = 0;  // the default
  OptionRange range;
  std::string help;  // without the optimizer's name
};

// What is meant where a file of a run names no optimizer.
inline constexpr const char* kDefaultOptimizer = "adamw";

// Which optimizer, and its numbers. Those that are not given have their defaults.
struct OptimizerSettings {
  std::string name = kDefaultOptimizer;
  double clip = 1.0;            // largest norm of the gradient, for every optimizer
  double learning_rate = 1e-3;  // from which the schedule starts: rates of a rule's own are relative to it
  std::map<std::string, double> values = {};
};

struct OptimizerKind {
  std::string name;     // lower-case letters, digits and '_'
  std::string summary;  // a few words for --help
  std::vector<OptimizerOption> options;
  std::function<std::unique_ptr<Optimizer>(ParameterSet&, const OptimizerSettings&)> make;
};

// ValueError that names the part that is missing or wrong, or a name that is taken. Two optimizers may share an option
// if default and range are the same. Not to be called while another thread uses the registry.
void register_optimizer(OptimizerKind kind);

// All that are known, those of optimizers.def first.
std::vector<std::string> optimizer_names();
const OptimizerKind& optimizer_kind(const std::string& name);  // ValueError that lists the names

// ValueError for an unknown name or option, or a value outside its range.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerSettings& settings, ParameterSet& parameters);

// For an optimizer whose options are members of a struct: one list says everything about them.
template <class Options>
struct OptionField {
  const char* name;
  double Options::*member;  // whose initial value is the default
  OptionRange range;
  const char* help;
};

template <class Options>
std::vector<OptimizerOption> options_of(const std::vector<OptionField<Options>>& fields) {
  std::vector<OptimizerOption> options;
  for (const auto& field : fields) options.push_back({field.name, Options{}.*field.member, field.range, field.help});
  return options;
}

template <class Options>
Options read_options(const std::vector<OptionField<Options>>& fields, const OptimizerSettings& settings) {
  Options options;
  for (const auto& field : fields) {
    const auto given = settings.values.find(field.name);
    if (given != settings.values.end()) options.*field.member = given->second;
  }
  return options;
}

}  // namespace mixgrad
