// The heads that mix by a shift, one by one, and the selection of layers and heads.
#include "nn/analysis/shift_head_list.h"

#include <doctest/doctest.h>

#include "core/error.h"
#include "nn/analysis/hsm_paths.h"
#include "nn/config/patterns/mixer_pattern.h"
#include "tests/support/model_forms.h"
#include "tests/support/temp_folder.h"
#include "tests/support/text.h"

namespace mixgrad::test {
namespace {

std::unique_ptr<Decoder> four_heads(const std::string& pattern, std::int64_t layers) {
  ModelConfig config = decoder_config(pattern, Positions::none, Norm::layernorm, Mlp::gelu, true, true);
  config.layers = expand_mixer_pattern(pattern, {layers, 4, 0, kContext, kWidth});
  return make_decoder(config, DType::f64);
}

TEST_CASE("shift head list: every head with its shift and the means of its own a and b") {
  const auto model = four_heads("hsm:vector(heads=2,shifts=3|5),mixed(softmax=1,mamba=1,shift=2),attention", 3);
  const Tensor& a = model->parameters().at("layers.0.mixer.a").value;
  for (std::int64_t c = 0; c < kWidth; ++c) a.set(c, static_cast<double>(c));
  model->parameters().at("layers.1.mixer.shift.b").value.set(0, -7);
  const std::vector<ShiftHead> heads = shift_head_list(*model);
  REQUIRE(heads.size() == 4);
  CHECK(heads[1].layer == 0);
  CHECK(heads[1].head == 1);
  CHECK(heads[1].variant == "vector");
  CHECK(heads[1].shift == 5);
  constexpr std::int64_t kHalf = kWidth / 2;  // channels of a head
  CHECK(heads[0].a.value() == doctest::Approx(static_cast<double>(kHalf - 1) / 2));
  CHECK(heads[1].a.value() == doctest::Approx(static_cast<double>(kHalf - 1) / 2 + static_cast<double>(kHalf)));
  CHECK(heads[2].layer == 1);
  CHECK(heads[2].variant == "mixed");
  CHECK(heads[2].head == 2);
  CHECK(heads[2].b.value() == -7);
  CHECK(heads[3].shift == 2 * heads[2].shift);
  CHECK(shift_head_list(*model, {.layer = 2}).empty());
  CHECK(shift_head_list(*model, {.head = 1}).size() == 1);
  REQUIRE(shift_head_list(*model, {.layer = 1, .head = 2}).size() == 1);
  CHECK(shift_head_list(*model, {.layer = 1, .head = 2})[0].b.value() == -7);
  CHECK_FALSE(shift_head_list(*four_heads("hsm:gate_single", 1))[0].a.has_value());
}

TEST_CASE("head selection: the softmax heads of a layer by their numbers, and what a model does not have") {
  const auto model = four_heads("recurformer(groups=0|3),attention,hsm:scalar(heads=2)", 3);
  CHECK(softmax_head_numbers(*model, 0) == std::vector<std::int64_t>{1, 2});
  CHECK(softmax_head_numbers(*model, 1) == std::vector<std::int64_t>{0, 1, 2, 3});
  CHECK(softmax_head_numbers(*model, 2).empty());
  CHECK(head_count(*model, 2) == 2);
  check_selection(*model, {});
  check_selection(*model, {.layer = 2, .head = 1});
  check_selection(*model, {.head = 3});
  CHECK(has(error_of<ValueError>([&] { check_selection(*model, {.layer = 3}); }), "the layer must be from 0 to 2"));
  CHECK(has(error_of<ValueError>([&] { check_selection(*model, {.layer = 2, .head = 2}); }), "layer 2 has 2 heads"));
  CHECK(has(error_of<ValueError>([&] { check_selection(*model, {.head = 4}); }), "no layer has more than 4 heads"));
}

TEST_CASE("hsm paths: of one head its channels alone, of one layer its shifts alone") {
  const auto model = four_heads("hsm:scalar(heads=2,shifts=1|6),attention,hsm:vector(heads=2,shifts=2|8)", 3);
  const HsmPaths second = hsm_paths(*model, 100, {.head = 1});
  REQUIRE(second.paths.size() == 15);
  CHECK(second.receptive_field == 15);
  for (std::size_t lag = 0; lag < 15; ++lag)
    CHECK(second.paths[lag] == (lag == 0 || lag == 6 || lag == 8 || lag == 14));
  const HsmPaths layer = hsm_paths(*model, 100, {.layer = 2});
  CHECK(layer.layers == std::vector<std::int64_t>{2});
  CHECK(layer.paths[2] == 0.5);
  CHECK(layer.paths[8] == 0.5);
  CHECK(hsm_paths(*model, 100, {.layer = 1}).layers.empty());
  CHECK(hsm_paths(*model, 100, {.head = 3}).layers.empty());
  // The mean over both heads is that over all channels.
  const HsmPaths whole = hsm_paths(*model, 100);
  const HsmPaths first = hsm_paths(*model, 100, {.head = 0});
  for (std::size_t lag = 0; lag < whole.paths.size(); ++lag) {
    const double of_first = lag < first.paths.size() ? first.paths[lag] : 0;
    CHECK(whole.paths[lag] == doctest::Approx((of_first + second.paths[lag]) / 2));
  }
}

}  // namespace
}  // namespace mixgrad::test
