// nn/analysis/hsm_paths.h: the lags that shift-mixing layers reach, and with what weight.
#include "nn/analysis/hsm_paths.h"

#include <doctest/doctest.h>

#include <cmath>

#include "ops/elementwise/elementwise.h"
#include "ops/shift_mix/shift_mix.h"
#include "tests/support/model_forms.h"

namespace mixgrad::test {
namespace {

ModelConfig model(const std::string& pattern, std::int64_t layers) {
  ModelConfig config = decoder_config(pattern, Positions::none, Norm::layernorm, Mlp::gelu, true, true);
  config.layers = expand_mixer_pattern(pattern, {layers, 4, 0, kContext, kWidth});
  return config;
}

TEST_CASE("hsm paths: doubling reaches every lag below 2^L once, at the start with 1.05 and 0.05 as factors") {
  for (const char* pattern : {"hsm:scalar", "hsm:vector(schedule=reversed)"}) {
    Decoder decoder(model(pattern, 4), DType::f64);
    decoder.parameters().initialize(1);
    const HsmPaths report = hsm_paths(decoder, 1000);
    CHECK(report.layers == std::vector<std::int64_t>{0, 1, 2, 3});
    CHECK(report.receptive_field == 16);
    CHECK(report.paths == std::vector<double>(16, 1.0));
    REQUIRE(report.weights.size() == 16);
    for (std::size_t d = 0; d < 16; ++d) {
      const int bits = __builtin_popcountll(d);
      CHECK(std::abs(report.weights[d] - std::pow(0.05, bits) * std::pow(1.05, 4 - bits)) < 1e-12);
    }
  }
}

TEST_CASE("hsm paths: the weights are the impulse response of the stack, whatever heads and shifts") {
  const ModelConfig config = model("hsm:scalar(shifts=1|3|4|4),attention,hsm:vector(heads=2,shifts=2|5)", 5);
  const auto decoder = make_decoder(config, DType::f64);
  const HsmPaths report = hsm_paths(*decoder, 1000);
  CHECK(report.layers == std::vector<std::int64_t>{0, 2, 3});
  CHECK(report.receptive_field == 1 + 4 + 5 + 4);
  Tensor x = Tensor::zeros({1, 20, kWidth}, DType::f64);
  for (std::int64_t c = 0; c < kWidth; ++c) x.set(c, 1);
  for (const std::int64_t l : report.layers) {
    const std::string prefix = "layers." + std::to_string(l) + ".mixer.";
    const auto& layer = config.layers[static_cast<std::size_t>(l)].get<HsmConfig>();
    x = add(x, shift_mix(x, decoder->parameters().find(prefix + "a")->value,
                         decoder->parameters().find(prefix + "b")->value, {.shifts = layer.shifts}));
  }
  REQUIRE(report.weights.size() <= 20);
  for (std::int64_t d = 0; d < 20; ++d) {
    double mean = 0;
    for (std::int64_t c = 0; c < kWidth; ++c) mean += std::abs(x.at(d * kWidth + c)) / kWidth;
    const auto i = static_cast<std::size_t>(d);
    CHECK(std::abs((i < report.weights.size() ? report.weights[i] : 0) - mean) < 1e-12);
  }
}

TEST_CASE("hsm paths: other variants have paths without weights; lags are cut off where asked") {
  const auto decoder = make_decoder(model("hsm:scalar,hsm:gate_double", 4), DType::f32);
  const HsmPaths report = hsm_paths(*decoder, 5);
  CHECK(report.receptive_field == 16);
  CHECK(report.paths == std::vector<double>(5, 1.0));
  CHECK(report.weights.empty());
  CHECK(hsm_paths(*make_decoder(model("attention", 1), DType::f32), 5).layers.empty());
}

}  // namespace
}  // namespace mixgrad::test
