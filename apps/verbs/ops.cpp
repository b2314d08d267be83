// mixgrad ops: the operators, printed from their specs.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/output/json_line.h"
#include "apps/verbs/verbs.h"
#include "autograd/op_spec.h"

namespace mixgrad::app {
namespace {

class Ops : public Verb {
 public:
  std::string summary() const override { return "The operators: formula, gradient and what is saved for it"; }
  std::string example() const override { return "mixgrad ops"; }
  void declare(OptionSet& options) override { options.add_flag("json", json_, "One JSON object per operator"); }

  int run() override {
    for (int i = 0; i < kOpCount; ++i) {
      const OpSpec& spec = op_spec(static_cast<OpId>(i));
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
