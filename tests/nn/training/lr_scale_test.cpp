// Learning rates of single parameters, by patterns of their names.
#include "nn/modules/lr_scale.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "nn/modules/freeze.h"
#include "nn/training/optimizers/adamw.h"
#include "nn/training/optimizers/registry.h"
#include "tests/support/close.h"
#include "tests/support/device.h"

namespace mixgrad::test {
namespace {

struct ScaledParameters {
  ParameterSet set;
  explicit ScaledParameters(DType dtype = DType::f64) {
    for (const char* name : {"embed.weight", "layers.0.up.weight", "layers.1.up.weight", "norm.weight"}) {
      set.add(name, {3, 3}, Init::normal(1), true);
    }
    set.allocate(dtype, test_device());
    set.initialize(1);
  }
  // Steps with the same gradients for every parameter of any set.
  void train(const std::string& optimizer, const std::vector<std::string>& scales, double rate, int steps = 3) {
    scale_learning_rates(set, scales);
    const auto rule = make_optimizer({.name = optimizer, .values = {}}, set);
    for (int step = 0; step < steps; ++step) {
      Gradients g = set.new_gradients();
      g.mark_all_arrived();
      Rng rng(static_cast<std::uint64_t>(step) + 5);
      for (std::size_t i = 0; i < set.size(); ++i) {
        const Tensor host = Tensor::empty({3, 3}, g.of(i).dtype());
        rng.fill_normal(host, 0, 1e-3);
        g.of(i).copy_from(host.to(test_device()));
      }
      rule->step(g, rate);
    }
  }
  bool same(std::size_t i, const ScaledParameters& other) const {
    return set[i].master.equal_bits(other.set[i].master) && set[i].value.equal_bits(other.set[i].value);
  }
};

TEST_CASE("lr scale: patterns of names, how many numbers they scale, and errors") {
  ScaledParameters p;
  CHECK(scale_learning_rates(p.set, {}) == 0);
  CHECK(scale_learning_rates(p.set, {"layers.*=0.5", "layers.1.*=2"}) == 18);
  CHECK(p.set[0].lr_scale == 1);
  CHECK(p.set[1].lr_scale == 0.5);
  CHECK(p.set[2].lr_scale == 2);  // the last that matches
  CHECK(scale_learning_rates(p.set, {"*=1"}) == 0);
  const auto refused = [](const std::string& scale, const char* message) {
    ScaledParameters fresh;
    freeze(fresh.set, {"norm.*"});
    CHECK_THROWS_WITH_AS(scale_learning_rates(fresh.set, {scale}), doctest::Contains(message), ValueError);
  };
  refused("embed.*", "lr-scale: PATTERN=FACTOR is required, such as embed.*=0.1; got \"embed.*\"; add the factor");
  refused("embed.*=", "lr-scale: a factor must be above 0 and at most 1000; got \"embed.*=\"");
  refused("embed.*=0", "correct it, or leave parameters as they are with freeze");
  refused("embed.*=-1", "must be above 0");
  refused("embed.*=nan", "must be above 0");
  refused("embed.*=1001", "at most 1000");
  refused("decoder.*=2", "lr-scale: a pattern must match the name of a parameter; \"decoder.*\" matches none");
  refused("norm.*=2", "lr-scale: the parameters of \"norm.*=2\" are frozen; leave it out");
}

TEST_CASE("lr scale: a parameter moves as with that learning rate, the others as without, for every optimizer") {
  for (const std::string& name : std::vector<std::string>{"adamw", "muon"}) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      INFO(name << " " << std::string(dtype_name(dtype)));
      ScaledParameters plain(dtype);
      plain.train(name, {}, 1e-3);
      ScaledParameters one(dtype);
      one.train(name, {"*=1"}, 1e-3);
      ScaledParameters scaled(dtype);
      scaled.train(name, {"layers.0.*=0.5", "norm.*=0.5"}, 1e-3);
      ScaledParameters half(dtype);
      half.train(name, {}, 5e-4);
      for (std::size_t i = 0; i < 4; ++i) {
        CHECK(one.same(i, plain));
        CHECK(scaled.same(i, i % 2 == 0 ? plain : scaled));
        // Powers of two: the same rounding as with half of the rate, but for 1 - rate weight_decay.
        const Tensor got = scaled.set[i].master.to(kCpu);
        const Tensor want = (i % 2 == 0 ? plain : half).set[i].master.to(kCpu);
        for (std::int64_t k = 0; k < got.numel(); ++k) {
          CHECK(std::abs(got.at(k) - want.at(k)) < (dtype == DType::f64 ? 1e-15 : 1e-6));
        }
        if (i % 2 == 1) CHECK_FALSE(scaled.same(i, plain));
      }
    }
  }
}

}  // namespace
}  // namespace mixgrad::test
