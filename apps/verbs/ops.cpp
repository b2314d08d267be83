// mixgrad ops: every operator, or those that are named, printed from its spec.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/output/json_line.h"
#include "apps/verbs/verbs.h"
#include "core/error.h"
#include "core/text/suggest.h"
#include "ops/operators.h"

namespace mixgrad::app {
namespace {

class Ops : public Verb {
 public:
  std::string summary() const override { return "The operators: formula, gradient and what is saved for it"; }
  std::string example() const override { return "mixgrad ops attention"; }
  void declare(OptionSet& options) override {
    options.add_files("NAME", names_, "Only these operators", OptionSet::ArgumentUse::optional);
    options.add_list("op", more_names_, "Only this operator, the same as NAME; may be given several times",
                     {.value = "NAME"});
    options.add_flag("json", json_, "One JSON object per operator");
  }

  int run() override {
    std::vector<std::string> wanted = names_;
    wanted.insert(wanted.end(), more_names_.begin(), more_names_.end());
    check(wanted);
    for (const OpSpec* operator_spec : operators()) {
      const OpSpec& spec = *operator_spec;
      if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), spec.name) == wanted.end()) continue;
      if (json_) {
        nlohmann::ordered_json row;
        row["op"] = spec.name;
        row["formula"] = spec.formula;
        row["gradient"] = spec.gradient;
        row["saves"] = spec.saves;
        print_json(row);
      } else {
        std::printf("%s\n  %s\n  gradient: %s\n  saves:    %s\n\n", spec.name, spec.formula, spec.gradient, spec.saves);
      }
    }
    return kOk;
  }

 private:
  static void check(const std::vector<std::string>& wanted) {
    std::vector<std::string> known;
    for (const OpSpec* spec : operators()) known.emplace_back(spec->name);
    for (const std::string& name : wanted) {
      if (std::find(known.begin(), known.end(), name) != known.end()) continue;
      raise<ValueError>("ops: a name must be that of an operator; got ", quote(name), "; ", did_you_mean(name, known),
                        "operators: ", join(known));
    }
  }

  std::vector<std::string> names_, more_names_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> verbs::ops() { return std::make_unique<Ops>(); }

}  // namespace mixgrad::app
