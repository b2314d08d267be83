// normed_shift_mix_cached: one kernel for a residual sum, its norm and a step of shift mixing.
#include <doctest/doctest.h>

#include <vector>

#include "autograd/tape.h"
#include "core/context.h"
#include "core/error.h"
#include "ops/cases/cases.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/shift_mix/shift_mix.h"
#include "tests/support/close.h"
#include "tests/support/device.h"

namespace mixgrad::test {
namespace {

Tensor random_mixed(const Shape& shape, std::uint64_t seed, DType dtype) {
  return random_tensor(shape, seed).to(dtype).to(test_device());
}

struct MixCase {
  DType dtype;
  std::int64_t batch, width;
  std::vector<std::int64_t> shifts;
  bool by_channel, centred, add;
  Boundary boundary;
};

std::vector<MixCase> mix_cases() {
  std::vector<MixCase> all;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    all.push_back({dtype, 1, 768, {2}, false, true, true, Boundary::zero});
    all.push_back({dtype, 3, 64, {1, 3, 5, 2}, false, false, true, Boundary::self});
    all.push_back({dtype, 2, 1024, {4, 1}, true, true, false, Boundary::zero});
    all.push_back({dtype, 9, 24, {3, 2}, true, false, true, Boundary::self});
  }
  return all;
}

// Tokens one after the other, by the kernel and by separate operators.
void check_tokens(const MixCase& m, bool at_rest) {
  Context settings = context();
  settings.weights_at_rest = at_rest;
  const RowNorm norm{.centred = m.centred,
                     .weight = random_mixed({m.width}, 1, DType::f32),
                     .bias = m.centred ? random_mixed({m.width}, 2, DType::f32) : Tensor(),
                     .eps = 1e-5};
  const Shape coefficients{m.by_channel ? m.width : static_cast<std::int64_t>(m.shifts.size())};
  const Tensor a = random_mixed(coefficients, 3, m.dtype);
  const Tensor b = random_mixed(coefficients, 4, m.dtype);
  const ShiftOptions options{m.shifts, m.boundary};
  const Tensor ring = Tensor::zeros({m.batch, ring_elements(m.width, m.shifts)}, m.dtype, test_device());
  const Tensor other_ring = ring.clone();
  for (std::int64_t t = 0; t < 12; ++t) {
    CAPTURE(t);
    const auto seed = static_cast<std::uint64_t>(100 + t);
    const Tensor x = random_mixed({m.batch, 1, m.width}, seed, DType::f32);
    const Tensor y = m.add ? random_mixed({m.batch, 1, m.width}, seed + 50, m.dtype) : Tensor();
    SumAndNorm normed;
    if (m.add) {
      normed = m.centred ? add_layer_norm(x, y, norm.weight, norm.bias, norm.eps)
                         : add_rms_norm(x, y, norm.weight, norm.eps);
    } else {
      normed = {x, m.centred ? layer_norm(x, norm.weight, norm.bias, norm.eps, m.dtype)
                             : rms_norm(x, norm.weight, norm.eps, m.dtype)};
    }
    const Tensor want = shift_mix_cached(normed.normed, a, b, other_ring, t, options).to(kCpu);
    const ContextScope scope(settings);
    const auto got = normed_shift_mix_cached(x, y, norm, a, b, ring, t, options);
    REQUIRE(got);
    CHECK(got->sum.equal_bits(normed.sum));
    const double tolerance = m.dtype == DType::bf16 ? 2e-2 : 1e-5;
    CHECK(not_close_to_scale(got->result.to(kCpu), want, tolerance, largest_of(want)) == kNothing);
  }
}

}  // namespace

TEST_CASE("normed_shift_mix_cached: sum, norm and mixing as by separate operators, token by token") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  for (const MixCase& m : mix_cases()) {
    CAPTURE(m.width);
    CAPTURE(m.batch);
    for (const bool at_rest : {false, true}) check_tokens(m, at_rest);
  }
}

TEST_CASE("normed_shift_mix_cached: what has no kernel is left to the separate operators") {
  const auto served = [](std::int64_t tokens, std::int64_t width) {
    const RowNorm norm{.weight = random_mixed({width}, 1, DType::f32)};
    const Tensor x = random_mixed({1, tokens, width}, 2, DType::f32);
    const Tensor one = random_mixed({1}, 3, DType::f32);
    const std::vector<std::int64_t> shifts{2};
    const ShiftOptions options{shifts, Boundary::zero};
    const Tensor ring = Tensor::zeros({1, ring_elements(width, options.shifts)}, DType::f32, test_device());
    return normed_shift_mix_cached(x, Tensor(), norm, one, one, ring, 0, options).has_value();
  };
  CHECK(served(1, 64) == test_device().is_cuda());
  CHECK_FALSE(served(2, 64));
  CHECK_FALSE(served(1, 1028));
  CHECK_FALSE(served(1, 66));
  const RowNorm norm{.weight = random_mixed({8}, 1, DType::f32)};
  const Tensor x = random_mixed({1, 1, 12}, 2, DType::f32);
  const std::vector<std::int64_t> shifts{2};
  CHECK_THROWS_AS(normed_shift_mix_cached(x, Tensor(), norm, x, x, x, 0, {shifts, Boundary::zero}), ShapeError);
}

}  // namespace mixgrad::test
