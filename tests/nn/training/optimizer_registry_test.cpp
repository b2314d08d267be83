// The optimizers by name: what is refused and with which words, options, and one that comes from outside the library.
#include "nn/training/optimizers/registry.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "nn/training/memory_plan.h"
#include "nn/training/optimizers/adamw.h"
#include "tests/support/close.h"
#include "tests/support/model_forms.h"

namespace mixgrad::test {
namespace {

// p <- p - lr rate sign(g), with a count of the elements that went up: state of two kinds.
class SignDescent final : public Optimizer {
 public:
  SignDescent(ParameterSet& parameters, double clip, double rate)
      : Optimizer("sign_descent", parameters, clip), rate_(rate), last_(zeros_like_parameters("last signs")) {
    ups_ = Tensor::zeros({1}, DType::f64);
  }

  std::vector<NamedTensor> state() const override {
    std::vector<NamedTensor> tensors;
    for (std::size_t i = 0; i < parameters().size(); ++i) tensors.push_back(part(last_, i, ".sign"));
    tensors.push_back({"ups", ups_});
    return tensors;
  }

 private:
  void queue_update(const Tensor& gradient) override {
    if (read_progress().halted != 0) return;
    const Tensor& p = parameters().master();
    for (std::int64_t i = 0; i < p.numel(); ++i) {
      const double g = gradient.at(i);
      const double sign = g > 0 ? 1 : g < 0 ? -1 : 0;
      p.set(i, p.at(i) - read_progress().learning_rate * rate_ * sign);
      last_.set(i, sign);
      ups_.set(0, ups_.at(0) + (sign < 0 ? 1 : 0));
    }
  }

  double rate_;
  Tensor last_, ups_;
};

OptimizerKind sign_descent(const std::string& name) {
  return {.name = name,
          .summary = "the sign of the gradient",
          .options = {{.name = "sign-rate", .value = 1, .range = {.high = 10}, .help = "factor of the learning rate"}},
          .make = [](ParameterSet& parameters, const OptimizerSettings& settings) -> std::unique_ptr<Optimizer> {
            const auto given = settings.values.find("sign-rate");
            const double rate = given == settings.values.end() ? 1 : given->second;
            return std::make_unique<SignDescent>(parameters, settings.clip, rate);
          }};
}

struct OneParameter {
  ParameterSet parameters;
  OneParameter() {
    parameters.add("w", {3}, Init::constant(1), true);
    parameters.allocate(DType::f64);
    parameters.initialize(1);
  }
  Gradients gradients(std::vector<double> values) const {
    Gradients g = parameters.new_gradients();
    g.mark_all_arrived();
    for (std::size_t i = 0; i < values.size(); ++i) g.of(0).set(static_cast<std::int64_t>(i), values[i]);
    return g;
  }
};

std::string refusal(OptimizerKind kind) {
  return error_text<ValueError>([&] { register_optimizer(std::move(kind)); });
}

TEST_CASE("optimizers: those of the list are there, under their names") {
  const std::vector<std::string> names = optimizer_names();
  REQUIRE_FALSE(names.empty());
  CHECK(names[0] == kDefaultOptimizer);
  OneParameter p;
  for (const std::string& name : names) {
    const std::unique_ptr<Optimizer> made = make_optimizer({.name = name, .values = {}}, p.parameters);
    CHECK(made->name() == name);
    CHECK(made->steps() == 0);
    CHECK_FALSE(optimizer_kind(name).summary.empty());
  }
}

TEST_CASE("optimizers: an unknown name, an unknown option and a value outside its range are refused") {
  OneParameter p;
  CHECK(error_text<ValueError>([&] {
          make_optimizer({.name = "adam", .values = {}}, p.parameters);
        }).starts_with("optimizer: must be one of adamw"));
  CHECK(error_text<ValueError>([&] {
          make_optimizer({.values = {{"beta3", 0.5}}}, p.parameters);
        }) == "optimizer adamw: unknown option \"beta3\"; it has beta1, beta2, eps, weight-decay");
  CHECK(error_text<ValueError>([&] {
          make_optimizer({.values = {{"beta1", 1}}}, p.parameters);
        }) == "optimizer adamw: beta1 must be in [0, 1); got 1");
  CHECK(error_text<ValueError>([&] { make_optimizer({.clip = 0, .values = {}}, p.parameters); }) ==
        "adamw: clip must be above 0, got 0");
}

TEST_CASE("optimizers: values that are not given have the defaults of the struct") {
  const AdamWOptions defaults;
  for (const OptimizerOption& option : optimizer_kind("adamw").options) {
    if (option.name == "beta1") CHECK(option.value == defaults.beta1);
    if (option.name == "weight-decay") CHECK(option.value == defaults.weight_decay);
  }
  OneParameter by_name;
  OneParameter by_type;
  const auto a = make_optimizer({.values = {{"beta1", 0.5}}}, by_name.parameters);
  AdamW b(by_type.parameters, {.beta1 = 0.5});
  for (int i = 0; i < 3; ++i) {
    a->step(by_name.gradients({1, -2, 3}), 0.1);
    b.step(by_type.gradients({1, -2, 3}), 0.1);
  }
  CHECK(by_name.parameters.flat().equal_bits(by_type.parameters.flat()));
}

TEST_CASE("optimizers: a registration that lacks a part is refused with the name of the part") {
  OptimizerKind kind = sign_descent("refused");
  kind.name = "";
  CHECK(refusal(kind) == "register_optimizer: `name` must be lower-case letters, digits and '_'; got \"\"");
  kind = sign_descent("Upper");
  CHECK(refusal(kind) == "register_optimizer: `name` must be lower-case letters, digits and '_'; got \"Upper\"");
  kind = sign_descent("adamw");
  CHECK(refusal(kind) == "register_optimizer: \"adamw\": the name is taken; choose another");
  kind = sign_descent("refused");
  kind.summary = "";
  CHECK(refusal(kind) == "register_optimizer: \"refused\": `summary` is missing");
  kind = sign_descent("refused");
  kind.make = nullptr;
  CHECK(refusal(kind) == "register_optimizer: \"refused\": `make` is missing");
  kind = sign_descent("refused");
  kind.options[0].help = "";
  CHECK(refusal(kind) == "register_optimizer: option \"sign-rate\" of \"refused\": `help` is missing");
  kind = sign_descent("refused");
  kind.options[0].name = "";
  CHECK(refusal(kind) ==
        "register_optimizer: option \"\" of \"refused\": its name must be lower-case words joined by '-'");
  kind = sign_descent("refused");
  kind.options[0].value = 11;
  CHECK(refusal(kind) ==
        "register_optimizer: option \"sign-rate\" of \"refused\": the default 11 must be in its range [0, 10]");
  kind = sign_descent("refused");
  kind.options.push_back(kind.options[0]);
  CHECK(refusal(kind) == "register_optimizer: option \"sign-rate\" of \"refused\" is listed twice");
  kind = sign_descent("refused");
  kind.options[0] = {.name = "beta1", .value = 0.5, .range = {.high = 1}, .help = "mine"};
  CHECK(refusal(kind) ==
        "register_optimizer: option \"beta1\" of \"refused\": \"adamw\" has an option of this name with the default "
        "0.9 in [0, 1); take the same values, or another name");
  for (const std::string& name : optimizer_names()) CHECK(name != "refused");
}

TEST_CASE("optimizers: one from outside is made by name, clips and counts, halts, and is planned") {
  const std::vector<std::string> before = optimizer_names();
  if (std::find(before.begin(), before.end(), "sign_descent") == before.end()) {
    register_optimizer(sign_descent("sign_descent"));
  }
  OneParameter p;
  const OptimizerSettings settings{.name = "sign_descent", .values = {{"sign-rate", 2}}};
  const std::unique_ptr<Optimizer> optimizer = make_optimizer(settings, p.parameters);
  CHECK(optimizer->step(p.gradients({3, -4, 0}), 0.1) == 5);
  CHECK(optimizer->steps() == 1);
  CHECK(p.parameters.flat().at(0) == 1 - 0.1 * 2);
  CHECK(p.parameters.flat().at(1) == 1 + 0.1 * 2);
  CHECK(p.parameters.flat().at(2) == 1);
  const std::vector<NamedTensor> state = optimizer->state();
  REQUIRE(state.size() == 2);
  CHECK(state[0].name == "w.sign");
  CHECK(state[0].tensor.at(1) == -1);
  CHECK(state[1].name == "ups");
  CHECK(state[1].tensor.at(0) == 1);
  CHECK(std::isnan(optimizer->step(p.gradients({std::nan(""), 0, 0}), 0.1)));
  CHECK(optimizer->steps() == 1);
  CHECK(p.parameters.flat().at(0) == 1 - 0.1 * 2);

  const ModelConfig config = decoder_forms().front().config;
  const MemoryPlan one = plan_training(config, DType::f32, settings, 2);
  const MemoryPlan two = plan_training(config, DType::f32, {}, 2);
  CHECK(one.optimizer > 0);
  CHECK(one.optimizer < two.optimizer);  // one tensor like the parameters against two
}

}  // namespace
}  // namespace mixgrad::test
