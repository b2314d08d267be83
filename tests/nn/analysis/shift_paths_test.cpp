// nn/analysis/shift_paths.h: paths by hand, and their sums against hsm_paths.
#include "nn/analysis/shift_paths.h"

#include <doctest/doctest.h>

#include <cmath>
#include <memory>

#include "nn/analysis/hsm_paths.h"
#include "nn/config/patterns/mixer_pattern.h"

namespace mixgrad::test {
namespace {

std::unique_ptr<Decoder> stack_of(const std::string& pattern, std::int64_t layers) {
  ModelConfig config;
  config.vocab_size = 13;
  config.context = 64;
  config.d_model = 8;
  config.d_ff = 8;
  config.layers = expand_mixer_pattern(pattern, {layers, 2, 2, config.context, config.d_model});
  auto model = std::make_unique<Decoder>(config, DType::f64);
  model->parameters().initialize(5);
  return model;
}

}  // namespace

TEST_CASE("shift paths: three layers with shifts 1, 2 and 4 reach each lag up to 7 by one path") {
  const auto model = stack_of("hsm:scalar(heads=1)", 3);
  for (std::size_t l = 0; l < 3; ++l) {
    const std::string prefix = "layers." + std::to_string(l) + ".mixer.";
    model->parameters().at(prefix + "a").value.fill(0.5 * static_cast<double>(l));
    model->parameters().at(prefix + "b").value.fill(0.1 * static_cast<double>(l + 1));
  }
  const std::vector<HeadPaths> heads = shift_paths(*model, 6);
  REQUIRE(heads.size() == 1);
  CHECK(heads[0].complete);
  REQUIRE(heads[0].paths.size() == 7);  // lag 7 is beyond the limit
  const double weights[] = {1 * 1.5 * 2,   0.1 * 1.5 * 2,   1 * 0.2 * 2,  0.1 * 0.2 * 2,
                            1 * 1.5 * 0.3, 0.1 * 1.5 * 0.3, 1 * 0.2 * 0.3};
  for (std::size_t lag = 0; lag < 7; ++lag) {
    CHECK(heads[0].paths[lag].lag == static_cast<std::int64_t>(lag));
    CHECK(heads[0].paths[lag].weight.value() == doctest::Approx(weights[lag]));
  }
  CHECK(heads[0].paths[5].jumps == std::vector<std::int64_t>{0, 2});
}

TEST_CASE("shift paths: their numbers and weights sum to those of hsm_paths, for each head") {
  const auto model = stack_of("hsm:scalar(heads=2),attention,hsm:scalar(heads=2)", 6);
  const std::vector<HeadPaths> heads = shift_paths(*model, 63);
  REQUIRE(heads.size() == 2);
  for (const HeadPaths& head : heads) {
    const HsmPaths sums = hsm_paths(*model, 63, {.layer = HeadSelection::kAll, .head = head.head});
    std::vector<double> number(sums.paths.size());
    std::vector<double> weight(sums.weights.size());
    for (const ShiftPath& path : head.paths) {
      number.at(static_cast<std::size_t>(path.lag)) += 1;
      weight.at(static_cast<std::size_t>(path.lag)) += path.weight.value();
    }
    for (std::size_t lag = 0; lag < number.size(); ++lag) {
      CHECK(number[lag] == doctest::Approx(sums.paths[lag]));
      CHECK(std::abs(weight[lag]) == doctest::Approx(sums.weights[lag]));
    }
  }
}

TEST_CASE("shift paths: no weights where a form has other parameters, none without shift mixing, a limit") {
  const std::vector<HeadPaths> gated = shift_paths(*stack_of("hsm:gate_single(heads=2)", 2), 10);
  REQUIRE(gated.size() == 2);
  CHECK_FALSE(gated[0].paths.front().weight.has_value());
  CHECK(shift_paths(*stack_of("attention", 2), 10).empty());
  CHECK(shift_paths(*stack_of("hsm:scalar(heads=1),hsm:scalar(heads=2)", 2), 10).empty());
  const std::vector<HeadPaths> many = shift_paths(*stack_of("hsm:scalar(heads=1,shifts=1)", 13), 63);
  CHECK(many[0].paths.size() == kMostShiftPaths);
  CHECK_FALSE(many[0].complete);
}

}  // namespace mixgrad::test
