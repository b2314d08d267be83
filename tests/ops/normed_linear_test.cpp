// normed_linear: one kernel for what separate operators compute.
#include "ops/linear/normed_linear.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "autograd/tape.h"
#include "core/context.h"
#include "ops/cases/cases.h"
#include "ops/elementwise/elementwise.h"
#include "ops/linear/linear.h"
#include "ops/rms_norm/rms_norm.h"
#include "tests/support/close.h"
#include "tests/support/device.h"

namespace mixgrad::test {
namespace {

struct NormedSizes {
  std::int64_t rows, width, outputs, head_dim;
};

// One and eight rows, a lane with one unit and with all, slices of a sum, a result of many blocks.
const std::vector<NormedSizes> kNormedSizes{{1, 64, 96, 32},     {1, 768, 2304, 64}, {3, 128, 40, 20},
                                            {8, 256, 1000, 8},   {2, 1024, 512, 2},  {5, 1000, 24, 4},
                                            {1, 1024, 20000, 4}, {4, 8, 16386, 6}};

struct NormedOperands {
  Tensor x, y, weight, bias, gate_weight, gate_bias;
  RowNorm norm;
};

NormedOperands normed_operands(const NormedSizes& s, DType dtype, bool centred) {
  const Device device = test_device();
  const Shape stream{s.rows, 1, s.width};
  const auto wide = [&](const Shape& shape, std::uint64_t seed) {
    return random_tensor(shape, seed).to(DType::f32).to(device);
  };
  const auto narrow = [&](const Shape& shape, std::uint64_t seed) { return wide(shape, seed).to(dtype); };
  return {.x = wide(stream, 1),
          .y = narrow(stream, 2),
          .weight = narrow({s.outputs, s.width}, 3),
          .bias = narrow({s.outputs}, 4),
          .gate_weight = narrow({s.outputs, s.width}, 5),
          .gate_bias = narrow({s.outputs}, 6),
          .norm = {.centred = centred,
                   .weight = wide({s.width}, 7),
                   .bias = centred ? wide({s.width}, 8) : Tensor(),
                   .eps = 1e-5}};
}

SumAndNorm separate_norm(const NormedOperands& o, bool add, DType dtype) {
  const RowNorm& n = o.norm;
  if (add) {
    return n.centred ? add_layer_norm(o.x, o.y, n.weight, n.bias, n.eps) : add_rms_norm(o.x, o.y, n.weight, n.eps);
  }
  return {o.x, n.centred ? layer_norm(o.x, n.weight, n.bias, n.eps, dtype) : rms_norm(o.x, n.weight, n.eps, dtype)};
}

void check_normed(const NormedOperands& o, const NormedSizes& s, DType dtype, bool add, bool biased) {
  const SumAndNorm normed = separate_norm(o, add, dtype);
  const Tensor bias = biased ? o.bias : Tensor();
  const Tensor gate_bias = biased ? o.gate_bias : Tensor();
  const Tensor plain = linear(normed.normed, o.weight, bias);
  const RopeOptions rope_options{.heads = s.outputs / s.head_dim / 2 + 1, .head_dim = s.head_dim, .first_position = 5};
  const std::vector<std::pair<NormedLinear, Tensor>> forms{
      {{.weight = o.weight, .bias = bias}, plain},
      {{.weight = o.weight, .bias = bias, .after = AfterLinear::gelu}, gelu(plain)},
      {{.weight = o.weight, .bias = bias, .after = AfterLinear::rope, .rope = rope_options},
       s.outputs % s.head_dim == 0 ? rope(plain, rope_options) : Tensor()},
      {{.weight = o.weight,
        .bias = bias,
        .after = AfterLinear::swiglu,
        .gate_weight = o.gate_weight,
        .gate_bias = gate_bias},
       swiglu(linear(normed.normed, o.gate_weight, gate_bias), plain)}};
  for (const auto& form : forms) {
    const NormedLinear& product = form.first;
    const Tensor& want = form.second;
    CAPTURE(static_cast<int>(product.after));
    for (const bool at_rest : {false, true}) {
      Context settings = context();
      settings.weights_at_rest = at_rest;
      const ContextScope scope(settings);
      const auto got = normed_linear(o.x, add ? o.y : Tensor(), o.norm, product);
      if (!want.defined()) {
        CHECK_FALSE(got);
        continue;
      }
      REQUIRE(got);
      CHECK(got->sum.equal_bits(normed.sum));
      const double tolerance = dtype == DType::bf16 ? 1e-2 : 1e-5;
      CHECK(not_close_to_scale(got->result.to(kCpu), want.to(kCpu), tolerance, largest_of(want.to(kCpu))) == kNothing);
      const auto again = normed_linear(o.x, add ? o.y : Tensor(), o.norm, product);
      CHECK(again->result.equal_bits(got->result));
      if (product.after != AfterLinear::plain && product.after != AfterLinear::rope) continue;
      NormedLinear both = product;  // and a second matrix, of one head
      both.more_weight = o.gate_weight.slice(0, s.head_dim);
      const auto two = normed_linear(o.x, add ? o.y : Tensor(), o.norm, both);
      REQUIRE(two);
      const Tensor more = linear(normed.normed, both.more_weight).to(kCpu);
      const Tensor first = two->result.to(kCpu).column_view(0, s.outputs).clone();
      const Tensor second = two->result.to(kCpu).column_view(s.outputs, s.outputs + s.head_dim).clone();
      CHECK(not_close_to_scale(first, want.to(kCpu), tolerance, largest_of(want.to(kCpu))) == kNothing);
      CHECK(not_close_to_scale(second, more, tolerance, largest_of(more)) == kNothing);
    }
  }
}

}  // namespace

TEST_CASE("normed_linear: sum, norm, product and what follows as by separate operators, the same bits again") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  for (const NormedSizes& s : kNormedSizes) {
    CAPTURE(s.rows);
    CAPTURE(s.width);
    CAPTURE(s.outputs);
    for (const DType dtype : {DType::f32, DType::bf16}) {
      CAPTURE(dtype_name(dtype));
      for (const bool centred : {false, true}) {
        const NormedOperands o = normed_operands(s, dtype, centred);
        for (const bool add : {false, true}) {
          CAPTURE(add);
          check_normed(o, s, dtype, add, centred);
        }
      }
    }
  }
}

TEST_CASE("normed_linear: what has no kernel is left to the separate operators") {
  const NormedSizes s{1, 64, 32, 4};
  NormedOperands o = normed_operands(s, DType::f32, true);
  const auto served = [&](const NormedOperands& given) {
    return normed_linear(given.x, given.y, given.norm, {.weight = given.weight}).has_value();
  };
  CHECK(served(o) == test_device().is_cuda());
  CHECK_FALSE(served(normed_operands({9, 64, 32, 4}, DType::f32, true)));
  CHECK_FALSE(served(normed_operands({1, 1032, 32, 4}, DType::bf16, true)));
  CHECK_FALSE(served(normed_operands({1, 66, 32, 4}, DType::f32, true)));
  Tape tape;
  tape.watch(o.weight);
  CHECK_FALSE(served(o));
}

TEST_CASE("normed_linear: shapes that do not fit are errors") {
  const NormedOperands o = normed_operands({1, 64, 32, 4}, DType::f32, true);
  const NormedOperands other = normed_operands({1, 32, 32, 4}, DType::f32, true);
  CHECK_THROWS_WITH_AS(normed_linear(o.x, Tensor(), o.norm, {.weight = other.weight}),
                       "normed_linear: the last axis of x must be 32 to match weight [32,32], got x [1,1,64]",
                       ShapeError);
  CHECK_THROWS_AS(normed_linear(o.x, other.y, o.norm, {.weight = o.weight}), ShapeError);
  CHECK_THROWS_AS(normed_linear(o.x, Tensor(), other.norm, {.weight = o.weight}), ShapeError);
  CHECK_THROWS_AS(normed_linear(o.x, Tensor(), o.norm,
                                {.weight = o.weight, .after = AfterLinear::swiglu, .gate_weight = other.gate_weight}),
                  ShapeError);
}

}  // namespace mixgrad::test
