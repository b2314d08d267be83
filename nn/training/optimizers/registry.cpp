#include "nn/training/optimizers/registry.h"

#include <algorithm>
#include <sstream>

#include "core/error.h"
#include "core/text/suggest.h"

namespace mixgrad {

#define OPTIMIZER(name) OptimizerKind name##_optimizer();
#include "nn/training/optimizers/optimizers.def"
#undef OPTIMIZER

namespace {

bool is_word(const std::string& text, char joint) {
  const auto good = [joint](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == joint; };
  return !text.empty() && std::all_of(text.begin(), text.end(), good);
}

bool contains(const OptionRange& range, double value) {
  const bool above = range.low_excluded ? value > range.low : value >= range.low;
  const bool below = range.high_excluded ? value < range.high : value <= range.high;
  return above && below;
}

std::string text_of(const OptionRange& range) {
  std::ostringstream text;
  text << (range.low_excluded ? "(" : "[") << range.low << ", " << range.high << (range.high_excluded ? ")" : "]");
  return text.str();
}

using Kinds = std::vector<std::unique_ptr<const OptimizerKind>>;

void check_option(const Kinds& kinds, const OptimizerKind& kind, const OptimizerOption& option) {
  const std::string what = "register_optimizer: option " + quote(option.name) + " of " + quote(kind.name);
  if (!is_word(option.name, '-')) raise<ValueError>(what, ": its name must be lower-case words joined by '-'");
  if (option.help.empty()) raise<ValueError>(what, ": `help` is missing");
  if (!contains(option.range, option.value)) {
    raise<ValueError>(what, ": the default ", option.value, " must be in its range ", text_of(option.range));
  }
  const auto same_name = [&](const OptimizerOption& other) { return other.name == option.name; };
  if (std::count_if(kind.options.begin(), kind.options.end(), same_name) > 1) {
    raise<ValueError>(what, " is listed twice");
  }
  for (const auto& other : kinds) {
    for (const OptimizerOption& twin : other->options) {
      if (!same_name(twin) || (twin.value == option.value && twin.range == option.range)) continue;
      raise<ValueError>(what, ": ", quote(other->name), " has an option of this name with the default ", twin.value,
                        " in ", text_of(twin.range), "; take the same values, or another name");
    }
  }
}

void add_kind(Kinds& kinds, OptimizerKind kind) {
  if (!is_word(kind.name, '_')) {
    raise<ValueError>("register_optimizer: `name` must be lower-case letters, digits and '_'; got ", quote(kind.name));
  }
  const std::string what = "register_optimizer: " + quote(kind.name);
  if (kind.summary.empty()) raise<ValueError>(what, ": `summary` is missing");
  if (!kind.make) raise<ValueError>(what, ": `make` is missing");
  for (const auto& other : kinds) {
    if (other->name == kind.name) raise<ValueError>(what, ": the name is taken; choose another");
  }
  for (const OptimizerOption& option : kind.options) check_option(kinds, kind, option);
  kinds.push_back(std::make_unique<const OptimizerKind>(std::move(kind)));
}

Kinds& registry() {
  static Kinds kinds = [] {
    Kinds built_in;
#define OPTIMIZER(name) add_kind(built_in, name##_optimizer());
#include "nn/training/optimizers/optimizers.def"
#undef OPTIMIZER
    return built_in;
  }();
  return kinds;
}

}  // namespace

void register_optimizer(OptimizerKind kind) { add_kind(registry(), std::move(kind)); }

std::vector<std::string> optimizer_names() {
  std::vector<std::string> names;
  for (const auto& kind : registry()) names.push_back(kind->name);
  return names;
}

const OptimizerKind& optimizer_kind(const std::string& name) {
  for (const auto& kind : registry()) {
    if (kind->name == name) return *kind;
  }
  const std::vector<std::string> names = optimizer_names();
  raise<ValueError>("optimizer: must be one of ", join(names), "; got ", quote(name), "; ", did_you_mean(name, names),
                    "choose one of them");
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerSettings& settings, ParameterSet& parameters) {
  const OptimizerKind& kind = optimizer_kind(settings.name);
  std::vector<std::string> names;
  for (const OptimizerOption& option : kind.options) names.push_back(option.name);
  for (const auto& given : settings.values) {
    const std::string& name = given.first;
    const auto option = std::find_if(kind.options.begin(), kind.options.end(),
                                     [&](const OptimizerOption& known) { return known.name == name; });
    if (option == kind.options.end()) {
      raise<ValueError>("optimizer ", kind.name, ": unknown option ", quote(name), "; ", did_you_mean(name, names),
                        names.empty() ? "it has none" : "it has " + join(names));
    }
    if (!contains(option->range, given.second)) {
      raise<ValueError>("optimizer ", kind.name, ": ", name, " must be in ", text_of(option->range), "; got ",
                        given.second);
    }
  }
  return kind.make(parameters, settings);
}

}  // namespace mixgrad
