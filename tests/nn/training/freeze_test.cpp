// Frozen parameters, by patterns of their names.
#include "nn/modules/freeze.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "nn/training/optimizers/registry.h"
#include "tests/support/close.h"

namespace mixgrad::test {
namespace {

using Patterns = std::vector<std::string>;

std::vector<std::string> frozen_names(const ParameterSet& parameters) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (!parameters[i].trainable) names.push_back(parameters[i].name);
  }
  return names;
}

struct NamedParameters {
  ParameterSet set;
  NamedParameters() {
    for (const char* name : {"embed.weight", "layers.0.a", "layers.1.a", "layers.10.a", "norm.weight"}) {
      set.add(name, {3}, Init::constant(1), false);
    }
    set.allocate(DType::f32);
    set.initialize(1);
  }
};

TEST_CASE("freeze: patterns of names, and how many numbers they freeze") {
  const auto frozen = [](const Patterns& patterns, std::int64_t numbers) {
    NamedParameters p;
    CHECK(freeze(p.set, patterns) == numbers);
    return frozen_names(p.set);
  };
  CHECK(frozen({}, 0).empty());
  CHECK(frozen({"embed.weight"}, 3) == Patterns{"embed.weight"});
  CHECK(frozen({"layers.1.*"}, 3) == Patterns{"layers.1.a"});
  CHECK(frozen({"layers.1*"}, 6) == Patterns{"layers.1.a", "layers.10.a"});
  CHECK(frozen({"*.weight", "layers.?.a"}, 12) == Patterns{"embed.weight", "layers.0.a", "layers.1.a", "norm.weight"});
  CHECK(frozen({"layers.[01].a", "layers.0.a"}, 6) == Patterns{"layers.0.a", "layers.1.a"});
}

TEST_CASE("freeze: a pattern without a match and a model without a parameter to train are refused") {
  const auto text = [](const Patterns& patterns) {
    return error_text<ValueError>([&] {
      NamedParameters p;
      freeze(p.set, patterns);
    });
  };
  CHECK(text({"decoder.*"}) ==
        "freeze: a pattern must match the name of a parameter; \"decoder.*\" matches none; there are embed.weight, "
        "layers.0.a, layers.1.a, layers.10.a, norm.weight");
  CHECK(text({"*.a", "layers.0.b"}).find("did you mean \"layers.0.a\"?") != std::string::npos);
  CHECK(text({"*"}) ==
        "freeze: at least one parameter must be left to train; the patterns match all 5; give fewer or narrower ones");
}

TEST_CASE("freeze: a frozen parameter keeps its bits and stands outside the norm, for every optimizer") {
  for (const std::string& name : optimizer_names()) {
    CAPTURE(name);
    const auto gradients = [](const ParameterSet& set) {
      Gradients g = set.new_gradients();
      g.mark_all_arrived();
      for (std::size_t i = 0; i < set.size(); ++i) g.of(i).fill(i == 0 ? 100 : 2);
      return g;
    };
    NamedParameters p;
    freeze(p.set, {"embed.*"});
    const Tensor before = p.set[0].master.clone();
    const auto optimizer = make_optimizer({.name = name, .values = {}}, p.set);
    CHECK(optimizer->step(gradients(p.set), 0.1) == doctest::Approx(2 * std::sqrt(12.0)));
    CHECK(p.set[0].master.equal_bits(before));
    CHECK_FALSE(p.set[1].master.equal_bits(before));
  }
}

}  // namespace
}  // namespace mixgrad::test
