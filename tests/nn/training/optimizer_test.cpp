// AdamW against numbers worked out by hand, clipping, decay by name, refusals.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/error.h"
#include "nn/config/patterns/mixer_pattern.h"
#include "nn/model/decoder.h"
#include "nn/training/optimizers/adamw.h"
#include "tests/support/close.h"

namespace mixgrad::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// |got - want| <= tolerance |want|, in words.
std::string off(double got, double want, double tolerance) {
  if (std::abs(got - want) <= tolerance * std::abs(want)) return {};
  std::ostringstream text;
  text.precision(17);
  text << got << ", must be " << want;
  return text.str();
}

// Parameters w [2], with decay, and c [1], without; their gradients are set by hand.
struct Small {
  ParameterSet parameters;
  Parameter* w;
  Parameter* c;

  explicit Small(DType dtype = DType::f64) {
    w = parameters.add("w", {2}, Init::constant(0), true);
    c = parameters.add("c", {1}, Init::constant(0), false);
    parameters.allocate(dtype);
    w->value.set(0, 1.0);
    w->value.set(1, -2.0);
    c->value.set(0, 0.5);
  }
  Gradients gradients(double w0, double w1, double c0) const {
    Gradients g = parameters.new_gradients();
    g.mark_all_arrived();
    g.of(0).set(0, w0);
    g.of(0).set(1, w1);
    g.of(1).set(0, c0);
    return g;
  }
};

TEST_CASE("adamw: two steps worked out by hand, with clipping and decay") {
  // beta1 = 0.5, beta2 = 0.75, eps ~ 0, decay 0.5, lr 0.1: p <- p (1 - 0.05) - 0.1 mhat / sqrt(vhat), c without decay.
  // eps must be above 0: 1e-30 leaves no trace.
  // Step 1, g = (3, 4, 12), norm sqrt(9 + 16 + 144) = 13, clip 26: not clipped.
  //   m = g / 2, v = g^2 / 4; corrections 1 - 0.5 = 1/2 and 1 - 0.75 = 1/4, so mhat = g, vhat = g^2, mhat/sqrt(vhat) =
  //   1: w0 = 1 * 0.95 - 0.1 = 0.85, w1 = -2 * 0.95 - 0.1 = -2, c = 0.5 - 0.1 = 0.4
  // Step 2, g = (0, -4, 0), norm 4: not clipped.
  //   m = (3/4, 2/2 - 4/2 = -1, 12/4 = 3), v = (9/4 * 3/4 = 27/16, 4 * 3/4 + 16/4 = 7, 36 * 3/4 = 27)
  //   corrections 3/4 and 7/16: mhat = (1, -4/3, 4), vhat = (27/7, 16, 432/7)
  //   w0 = 0.85 * 0.95 - 0.1 sqrt(7/27), w1 = -2 * 0.95 + 0.1 / 3, c = 0.4 - 0.1 * 4 sqrt(7/432) = 0.4 - 0.1 sqrt(7/27)
  for (const DType dtype : {DType::f64, DType::f32}) {
    const double tolerance = dtype == DType::f64 ? 1e-15 : 1e-6;
    Small p(dtype);
    AdamW adamw(p.parameters, {.beta1 = 0.5, .beta2 = 0.75, .eps = 1e-30, .weight_decay = 0.5, .clip = 26});
    CHECK(off(adamw.step(p.gradients(3, 4, 12), 0.1), 13, tolerance) == kHolds);
    CHECK(adamw.steps() == 1);
    CHECK(off(p.w->value.at(0), 0.85, tolerance) == kHolds);
    CHECK(off(p.w->value.at(1), -2.0, tolerance) == kHolds);
    CHECK(off(p.c->value.at(0), 0.4, tolerance) == kHolds);
    CHECK(off(adamw.step(p.gradients(0, -4, 0), 0.1), 4, tolerance) == kHolds);
    CHECK(adamw.steps() == 2);
    CHECK(off(p.w->value.at(0), 0.85 * 0.95 - 0.1 * std::sqrt(7.0 / 27), tolerance) == kHolds);
    CHECK(off(p.w->value.at(1), -1.9 + 0.1 / 3, tolerance) == kHolds);
    CHECK(off(p.c->value.at(0), 0.4 - 0.1 * std::sqrt(7.0 / 27), tolerance) == kHolds);
    const FlatLayout layout(p.parameters.shapes());
    const Tensor m = layout.view(adamw.first_moment(), 0);
    const Tensor v = layout.view(adamw.second_moment(), 0);
    CHECK(off(m.at(0), 0.75, tolerance) == kHolds);
    CHECK(off(m.at(1), -1, tolerance) == kHolds);
    CHECK(off(v.at(0), 27.0 / 16, tolerance) == kHolds);
    CHECK(off(v.at(1), 7, tolerance) == kHolds);
  }
}

TEST_CASE("adamw: eps stands outside the root") {
  // beta1 = beta2 = 0: mhat = g, vhat = g^2; p <- p - lr g / (|g| + eps); with g = 3, eps = 1: 1 - 0.4 * 3/4 = 0.7
  Small p;
  AdamW adamw(p.parameters, {.beta1 = 0, .beta2 = 0, .eps = 1, .weight_decay = 0, .clip = 1e9});
  adamw.step(p.gradients(3, 0, 0), 0.4);
  CHECK(off(p.w->value.at(0), 0.7, 1e-15) == kHolds);
  CHECK(p.w->value.at(1) == -2.0);
}

TEST_CASE("adamw: the bias correction makes a constant gradient move every step by the learning rate") {
  const OneThread one_thread;  // so little to do that two would mostly wait for each other
  Small p;
  AdamW adamw(p.parameters, {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-30, .weight_decay = 0, .clip = 1e9});
  for (int t = 1; t <= 50; ++t) {
    adamw.step(p.gradients(1e-4, -3, 700), 0.01);
    CHECK(off(p.w->value.at(0), 1 - 0.01 * t, 1e-10) == kHolds);
    CHECK(off(p.w->value.at(1), -2 + 0.01 * t, 1e-12) == kHolds);
    CHECK(off(p.c->value.at(0) - 1, 0.5 - 0.01 * t - 1, 1e-12) == kHolds);
  }
}

TEST_CASE("adamw: the decay is that of the learning rate of the step, and does not pass through the moments") {
  Small p;
  AdamW adamw(p.parameters, {.weight_decay = 0.5, .clip = 1});
  adamw.step(p.gradients(0, 0, 0), 0.2);
  CHECK(off(p.w->value.at(0), 0.9, 1e-15) == kHolds);
  adamw.step(p.gradients(0, 0, 0), 0.02);
  CHECK(off(p.w->value.at(0), 0.9 * 0.99, 1e-15) == kHolds);
  CHECK(off(p.w->value.at(1), -2 * 0.9 * 0.99, 1e-15) == kHolds);
  CHECK(p.c->value.at(0) == 0.5);
  for (const double m : adamw.first_moment().to_vector()) CHECK(m == 0);
  for (const double v : adamw.second_moment().to_vector()) CHECK(v == 0);
}

TEST_CASE("adamw: clipping scales by clip / (norm + 1e-6), over all parameters, never up") {
  // The first moment after one step is (1 - beta1) g scale.
  const auto scale = [](double clip, double w0, double w1, double c0) {
    Small p;
    AdamW adamw(p.parameters, {.beta1 = 0.5, .clip = clip});
    const double norm = adamw.step(p.gradients(w0, w1, c0), 0.1);
    CHECK(off(norm, std::sqrt(w0 * w0 + w1 * w1 + c0 * c0), 1e-15) == kHolds);
    const Tensor m = FlatLayout(p.parameters.shapes()).view(adamw.first_moment(), 1);
    return 2 * m.at(0) / c0;
  };
  CHECK(off(scale(1, 3, 4, 12), 1 / 13.000001, 1e-15) == kHolds);
  CHECK(off(scale(6.5, 3, 4, 12), 6.5 / 13.000001, 1e-15) == kHolds);
  CHECK(off(scale(13, 3, 4, 12), 13 / 13.000001, 1e-15) == kHolds);
  CHECK(scale(13.0000011, 3, 4, 12) == 1);
  CHECK(scale(1000, 3, 4, 12) == 1);
  CHECK(scale(kInfinity, 3, 4, 12) == 1);
  CHECK(off(scale(1e-8, 0, 0, 1e-8), 1e-8 / (1e-8 + 1e-6), 1e-13) == kHolds);
  CHECK(off(scale(1, 0, 0, 1e150), 1e-150, 1e-14) == kHolds);
}

TEST_CASE("adamw: a norm over more than one block is the norm of all") {
  ParameterSet parameters;
  parameters.add("long", {50001}, Init::constant(0), true);
  parameters.add("short", {3}, Init::constant(0), true);
  parameters.allocate(DType::f32);
  AdamW adamw(parameters, {.clip = 1});
  Gradients g = parameters.new_gradients();
  g.mark_all_arrived();
  g.of(0).fill(2);
  g.of(1).fill(-4);
  CHECK(off(adamw.step(g, 1), std::sqrt(4.0 * 50001 + 16 * 3), 1e-14) == kHolds);
  for (std::int64_t i = 0; i < 50001; ++i) REQUIRE(parameters[0].value.at(i) == parameters[0].value.at(0));
  CHECK(parameters[0].value.at(0) < -0.9);
  CHECK(parameters[1].value.at(2) > 0.9);
}

TEST_CASE("adamw: the decay follows the parameter's name in every kind of model") {
  ModelConfig config;
  config.vocab_size = 7;
  config.context = 8;
  config.d_model = 8;
  config.d_ff = 12;
  std::int64_t seen = 0;
  const auto decays = [&](const std::string& name) {
    ++seen;
    if (name.ends_with("bias")) return false;
    if (name.find("norm") != std::string::npos) return false;
    return !name.ends_with(".a") && !name.ends_with(".b");
  };
  for (const std::string pattern : {"attention", "hsm:scalar(heads=2,proj=vo)", "hsm:vector(proj=vo),attention"}) {
    for (const Norm norm : {Norm::layernorm, Norm::rmsnorm}) {
      for (const Mlp mlp : {Mlp::gelu, Mlp::swiglu}) {
        config.norm = norm;
        config.mlp = mlp;
        config.tie_embeddings = norm == Norm::rmsnorm;
        config.layers = expand_mixer_pattern(pattern, {.layers = 2, .heads = 2, .context = 8});
        Decoder model(config, DType::f64);
        ParameterSet& parameters = model.parameters();
        for (const char* name : {"embed.weight", "pos.weight", "layers.1.mlp.down.weight"}) {
          REQUIRE(parameters.find(name) != nullptr);
          CHECK(parameters.find(name)->decay);
        }
        for (const char* name :
             {"norm.weight", "layers.0.norm1.weight", "layers.1.norm2.weight", "layers.0.mlp.up.bias"}) {
          REQUIRE(parameters.find(name) != nullptr);
          CHECK_FALSE(parameters.find(name)->decay);
        }
        // And the step does as the mask says: without a gradient only decay moves anything.
        parameters.flat().fill(1);
        AdamW adamw(parameters, {.weight_decay = 0.5});
        Gradients g = parameters.new_gradients();
        g.flat().fill(0);
        g.mark_all_arrived();
        adamw.step(g, 0.5);
        for (std::size_t i = 0; i < parameters.size(); ++i) {
          const std::string name = parameters[i].name;
          INFO(name);
          const double want = decays(name) ? 0.75 : 1;
          CHECK(parameters[i].decay == decays(name));
          for (const double v : parameters[i].value.to_vector()) CHECK(v == want);
        }
      }
    }
  }
  CHECK(seen > 300);
}

TEST_CASE("adamw: a norm that is not finite writes nothing at all") {
  for (const double bad : {kNaN, kInfinity, -kInfinity}) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      Small p(dtype);
      AdamW adamw(p.parameters, {});
      adamw.step(p.gradients(1, 2, 3), 0.1);
      const Tensor before = p.parameters.flat().clone();
      const Tensor m = adamw.first_moment().clone();
      const Tensor v = adamw.second_moment().clone();
      CHECK_FALSE(std::isfinite(adamw.step(p.gradients(1, bad, 3), 0.1)));
      CHECK(p.parameters.flat().equal_bits(before));
      CHECK(adamw.first_moment().equal_bits(m));
      CHECK(adamw.second_moment().equal_bits(v));
      CHECK(adamw.steps() == 1);
    }
  }
}

TEST_CASE("adamw: a parameter without a gradient is an error that names it, and nothing is written") {
  Small p;
  AdamW adamw(p.parameters, {});
  const Tensor before = p.parameters.flat().clone();
  const Gradients none = p.parameters.new_gradients();
  CHECK(
      error_text<GradError>([&] { adamw.step(none, 0.1); }) ==
      "adamw: parameter 'w' has no gradient: the loss does not depend on it; freeze it (trainable = false) or use it");
  p.w->trainable = false;
  CHECK(
      error_text<GradError>([&] { AdamW(p.parameters, {}).step(none, 0.1); }) ==
      "adamw: parameter 'c' has no gradient: the loss does not depend on it; freeze it (trainable = false) or use it");
  CHECK(p.parameters.flat().equal_bits(before));
  CHECK(adamw.steps() == 0);
}

TEST_CASE("adamw: a frozen parameter is untouched, and its gradient does not count in the norm") {
  Small p;
  p.w->trainable = false;
  AdamW adamw(p.parameters, {.weight_decay = 0.5});
  const Tensor before = p.w->value.clone();
  CHECK(adamw.step(p.gradients(kNaN, 100, 3), 0.1) == 3);
  CHECK(p.w->value.equal_bits(before));
  CHECK(p.c->value.at(0) < 0.5);
}

TEST_CASE("adamw: a parameter that is frozen between two steps is untouched from then on") {
  Small p;
  AdamW adamw(p.parameters, {.weight_decay = 0.5});
  adamw.step(p.gradients(1, 2, 3), 0.1);
  p.w->trainable = false;
  const Tensor before = p.w->value.clone();
  CHECK(adamw.step(p.gradients(kNaN, 100, 3), 0.1) == 3);
  CHECK(p.w->value.equal_bits(before));
  p.w->trainable = true;
  adamw.step(p.gradients(1, 2, 3), 0.1);
  CHECK_FALSE(p.w->value.equal_bits(before));
}

TEST_CASE("adamw: a restored optimizer continues as the one that was saved, bit for bit") {
  Small one;
  Small two;
  AdamW saved(one.parameters, {});
  for (int i = 0; i < 5; ++i) saved.step(one.gradients(i, 1, -i), 0.1);
  two.parameters.flat().copy_from(one.parameters.flat());
  AdamW restored(two.parameters, {});
  restored.restore(saved.first_moment(), saved.second_moment(), saved.steps());
  CHECK(restored.steps() == 5);
  for (int i = 0; i < 3; ++i) {
    saved.step(one.gradients(1, i, 2), 0.1);
    restored.step(two.gradients(1, i, 2), 0.1);
  }
  CHECK(one.parameters.flat().equal_bits(two.parameters.flat()));
  CHECK(saved.steps() == restored.steps());
}

TEST_CASE("adamw: options outside their range are refused, with the range and what came") {
  Small p;
  const auto text = [&](const AdamWOptions& options) {
    return error_text<ValueError>([&] { AdamW(p.parameters, options); });
  };
  CHECK(text({.beta1 = 1}) == "adamw: beta1 must be in [0,1), got 1");
  CHECK(text({.beta1 = -0.1}) == "adamw: beta1 must be in [0,1), got -0.1");
  CHECK(text({.beta1 = kNaN}) == "adamw: beta1 must be in [0,1), got nan");
  CHECK(text({.beta2 = 1.5}) == "adamw: beta2 must be in [0,1), got 1.5");
  CHECK(text({.beta2 = -1}) == "adamw: beta2 must be in [0,1), got -1");
  CHECK(text({.eps = 0}) == "adamw: eps must be finite and above 0, got 0");
  CHECK(text({.eps = kNaN}) == "adamw: eps must be finite and above 0, got nan");
  CHECK(text({.eps = kInfinity}) == "adamw: eps must be finite and above 0, got inf");
  CHECK(text({.weight_decay = -0.1}) == "adamw: weight_decay must be finite and at least 0, got -0.1");
  CHECK(text({.weight_decay = kInfinity}) == "adamw: weight_decay must be finite and at least 0, got inf");
  CHECK(text({.clip = 0}) == "adamw: clip must be above 0, got 0");
  CHECK(text({.clip = -1}) == "adamw: clip must be above 0, got -1");
  CHECK(text({.beta1 = 0, .beta2 = 0, .eps = 1e-12, .weight_decay = 0, .clip = kInfinity}) == "(no exception)");
}

}  // namespace
}  // namespace mixgrad::test
