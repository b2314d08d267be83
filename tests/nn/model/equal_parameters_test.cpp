// nn/model/equal_parameters.h: the width at which a model has as many parameters as one with softmax layers.
#include "nn/model/equal_parameters.h"

#include <doctest/doctest.h>

#include "core/error.h"
#include "nn/config/patterns/mixer_pattern.h"
#include "nn/model/decoder.h"
#include "tests/support/temp_folder.h"

namespace mixgrad {
namespace {

using test::error_of;

ModelConfig model(const std::string& pattern, Mlp mlp, bool bias, std::int64_t layers = 4) {
  ModelConfig config;
  config.vocab_size = 65;
  config.context = 64;
  config.d_model = 128;
  config.d_ff = 344;
  config.mlp = mlp;
  config.bias = bias;
  config.layers = expand_mixer_pattern(pattern, {layers, 4, 0, 64, 128});
  return config;
}

std::int64_t parameters(const ModelConfig& config) {
  std::int64_t total = 0;
  for (const auto& [name, shape] : parameter_shapes(config)) total += shape.numel();
  return total;
}

TEST_CASE("equal parameters: the formula, by hand") {
  // attention: 4 D^2 = 65536; scalar with 4 heads: 8; three products of D in a hidden unit: 344 + 65528 / 384 = 514.6
  CHECK(equal_parameter_width(model("hsm:scalar(heads=4)", Mlp::swiglu, false), {4, 4}) == 512);
  CHECK(equal_parameter_width(model("hsm:scalar(heads=4),attention", Mlp::swiglu, false), {4, 4}) == 424);
  // with biases: attention 4 D^2 + 4 D = 66048, a hidden unit 2 D + 1 = 257: 344 + 66046 / 257 = 600.99
  CHECK(equal_parameter_width(model("hsm:scalar", Mlp::gelu, true), {4, 4}) == 600);
  // grouped keys and values: 2.5 D^2 in place of 4 D^2: 344 + 40952 / 384 = 450.6
  CHECK(equal_parameter_width(model("hsm:scalar(heads=4)", Mlp::swiglu, false), {4, 1}) == 448);
  CHECK(equal_parameter_width(model("attention", Mlp::swiglu, false), {4, 4}) == 344);
}

TEST_CASE("equal parameters: the model then has at most as many parameters, and eight hidden units more are too many") {
  for (const char* pattern :
       {"hsm:vector", "hsm:matrix(heads=2)", "hsm:gate_single", "hsm:gate_double(heads=4,proj=vo)", "hsm:fusion",
        "hsm:fusion(hidden=200)", "hsm:scalar,attention,attention", "attention(kv_heads=1)"}) {
    for (const Mlp mlp : {Mlp::gelu, Mlp::swiglu}) {
      for (const bool bias : {false, true}) {
        INFO(std::string(pattern) << " " << to_string(mlp) << " " << bias);
        ModelConfig config = model(pattern, mlp, bias, 3);
        const std::int64_t want = parameters(model("attention", mlp, bias, 3));
        config.d_ff = equal_parameter_width(config, {4, 4});
        CHECK(config.d_ff % 8 == 0);
        CHECK(parameters(config) <= want);
        config.d_ff += 8;
        CHECK(parameters(config) > want);
      }
    }
  }
}

TEST_CASE("equal parameters: mixers that are too large, and softmax layers that cannot be, are errors") {
  CHECK(
      error_of<ValueError>([] {
        equal_parameter_width(model("hsm:fusion(hidden=1000)", Mlp::swiglu, false), {4, 4});
      }) ==
      "equal parameters: the mixers may take at most what softmax attention and an MLP of 344 hidden units have; they "
      "take 1278368 more than attention, and the MLP has 528384; choose smaller mixers or a wider MLP");
  CHECK(error_of<ValueError>([] {
          equal_parameter_width(model("hsm:scalar", Mlp::gelu, false), {5, 5});
        })
            .starts_with("equal parameters: the model with softmax layers: d_model must be a multiple of "
                         "layers[0].heads; got 128 and 5"));
  ModelConfig config = model("hsm:scalar", Mlp::none, false);
  config.d_ff = 0;
  CHECK(error_of<ValueError>([&] {
          equal_parameter_width(config, {4, 4});
        }) ==
        "equal parameters: an MLP is required, which gets what the mixers save; got mlp none; choose another mlp, or "
        "keep the width");
}

TEST_CASE("equal operations: as many a token as with softmax layers, but for less than 8 hidden units") {
  const auto operations = [](const ModelConfig& config) {
    double total = 0;
    for (const LayerReport& part : Decoder(config, {DType::f32, kCpu}).report()) total += part.operations;
    return total;
  };
  for (const char* pattern : {"hsm:scalar(heads=4)", "hsm:scalar(heads=4),attention", "hsm:gate_single"}) {
    CAPTURE(pattern);
    const ModelConfig base = model("attention", Mlp::swiglu, false);
    ModelConfig other = model(pattern, Mlp::swiglu, false);
    other.d_ff = equal_operation_width(other, {4, 4});
    CHECK(other.d_ff % 8 == 0);
    CHECK(operations(other) <= operations(base));
    other.d_ff += 8;
    CHECK(operations(other) > operations(base));
  }
}

}  // namespace
}  // namespace mixgrad
