// mixgrad ops: every operator, printed from its spec.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/output/json_line.h"
#include "apps/verbs/verbs.h"
#include "ops/operators.h"

namespace mixgrad::app {
namespace {

class Ops : public Verb {
 public:
  std::string summary() const override { return "The operators: formula, gradient and what is saved for it"; }
  std::string example() const override { return "mixgrad ops"; }
  void declare(OptionSet& options) override { options.add_flag("json", json_, "One JSON object per operator"); }

  int run() override {
    for (const OpSpec* operator_spec : operators()) {
      const OpSpec& spec = *operator_spec;
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
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Verb> verbs::ops() { return std::make_unique<Ops>(); }

}  // namespace mixgrad::app
