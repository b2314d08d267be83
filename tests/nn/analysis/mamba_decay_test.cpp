// Decay times of Mamba heads, from parameters written down by hand.
#include "nn/analysis/mamba_decay.h"

#include <doctest/doctest.h>

#include <cmath>

#include "nn/config/kinds/attention.h"
#include "nn/config/kinds/mixed_heads.h"

namespace mixgrad::test {

TEST_CASE("mamba decay: 1 / (softplus(bias) exp(A_log)), the first and the last state of each channel") {
  ModelConfig config;
  config.layers = {AttentionConfig{4, 2}, MixedHeadsConfig{.heads = 4, .kv_heads = 2, .recurrent_groups = {1}}};
  ParameterSet parameters;
  parameters.add("layers.1.mixer.mamba.A_log", {2, 3, 2}, Init::constant(0), false);
  parameters.add("layers.1.mixer.mamba.dt_proj.bias", {2, 3}, Init::constant(0), false);
  parameters.allocate(DType::f64);
  const Tensor& a_log = parameters[0].value;
  const Tensor& bias = parameters[1].value;
  for (std::int64_t i = 0; i < 12; ++i) a_log.set(i, std::log(static_cast<double>(i + 1)));
  const double steps[] = {0.5, 0.01, 30, 1, 2, 1e-4};  // softplus of the biases
  for (std::int64_t i = 0; i < 6; ++i) bias.set(i, steps[i] > 20 ? steps[i] : std::log(std::expm1(steps[i])));
  const std::vector<MambaDecay> heads = mamba_decays(parameters, config);
  REQUIRE(heads.size() == 2);
  for (std::size_t r = 0; r < 2; ++r) {
    CHECK(heads[r].layer == 1);
    CHECK(heads[r].head == static_cast<std::int64_t>(2 + r));
    REQUIRE(heads[r].longest.size() == 3);
    REQUIRE(heads[r].shortest.size() == 3);
    for (std::size_t d = 0; d < 3; ++d) {
      const double step = steps[3 * r + d];
      const auto first =
          static_cast<double>(2 * (3 * r + d) + 1);  // exp(A_log) of state 0; that of state 1 is one more
      CHECK(std::abs(heads[r].longest[d] * step * first - 1) < 1e-10);
      CHECK(std::abs(heads[r].shortest[d] * step * (first + 1) - 1) < 1e-10);
    }
  }
}

TEST_CASE("mamba decay: nothing to tell of layers without Mamba heads") {
  ModelConfig config;
  config.layers = {AttentionConfig{4, 2}, MixedHeadsConfig{.heads = 4, .kv_heads = 2, .shift_groups = {0}}};
  CHECK(mamba_decays(ParameterSet(), config).empty());
}

}  // namespace mixgrad::test
