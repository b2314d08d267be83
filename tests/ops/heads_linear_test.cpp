// heads_linear: one kernel for concat_heads and the product after it.
#include "ops/linear/heads_linear.h"

#include <doctest/doctest.h>

#include <vector>

#include "autograd/tape.h"
#include "core/context.h"
#include "core/error.h"
#include "ops/cases/cases.h"
#include "ops/heads/heads.h"
#include "ops/linear/linear.h"
#include "tests/support/device.h"

namespace mixgrad::test {
namespace {

Tensor random_heads(const Shape& shape, std::uint64_t seed, DType dtype) {
  return random_tensor(shape, seed).to(dtype).to(test_device());
}

struct GatheredSizes {
  std::int64_t batch, head_dim, outputs;
};

const std::vector<std::int64_t> kHeadSlots{3, 0, 4, 1, 2};  // two heads side by side, then three with rows of their own

}  // namespace

TEST_CASE("heads_linear: the bits of linear after concat_heads") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  for (const GatheredSizes& s : std::vector<GatheredSizes>{{1, 64, 768}, {2, 8, 33}, {3, 256, 4}, {8, 64, 5000}}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const bool at_rest : {false, true}) {
        CAPTURE(s.batch);
        CAPTURE(s.head_dim);
        Context settings = context();
        settings.weights_at_rest = at_rest;
        const ContextScope scope(settings);
        const std::vector<Tensor> parts{random_heads({s.batch, 1, 2 * s.head_dim}, 1, dtype),
                                        random_heads({s.batch, 1, 3, s.head_dim}, 2, dtype)};
        const Tensor weight = random_heads({s.outputs, 5 * s.head_dim}, 3, dtype);
        for (const Tensor& bias : {Tensor(), random_heads({s.outputs}, 4, dtype)}) {
          const auto got = heads_linear(parts, kHeadSlots, s.head_dim, weight, bias);
          REQUIRE(got);
          CHECK(got->equal_bits(linear(concat_heads(parts, kHeadSlots, s.head_dim), weight, bias)));
        }
      }
    }
  }
}

TEST_CASE("heads_linear: what has no kernel is left to the separate operators, and sizes that do not fit are errors") {
  const auto served = [](std::int64_t batch, std::int64_t head_dim, DType dtype) {
    const std::vector<Tensor> parts{random_heads({batch, 1, 2 * head_dim}, 1, dtype),
                                    random_heads({batch, 1, 3, head_dim}, 2, dtype)};
    return heads_linear(parts, kHeadSlots, head_dim, random_heads({7, 5 * head_dim}, 3, dtype), Tensor()).has_value();
  };
  CHECK(served(1, 8, DType::f32) == test_device().is_cuda());
  CHECK_FALSE(served(1, 8, DType::f64));
  CHECK_FALSE(served(9, 8, DType::f32));
  CHECK_FALSE(served(1, 6, DType::f32));
  std::vector<Tensor> parts{random_heads({1, 1, 16}, 1, DType::f32), random_heads({1, 1, 3, 8}, 2, DType::f32)};
  Tensor weight = random_heads({7, 40}, 3, DType::f32);
  const std::vector<std::int64_t> twice{0, 0, 1, 2, 3};
  CHECK_THROWS_AS(heads_linear(parts, twice, 8, weight, Tensor()), ValueError);
  CHECK_THROWS_AS(heads_linear(parts, kHeadSlots, 4, weight, Tensor()), ShapeError);
  CHECK_THROWS_AS(heads_linear({}, kHeadSlots, 8, weight, Tensor()), ShapeError);
  CHECK_THROWS_AS(heads_linear(parts, kHeadSlots, 8, weight, weight), ShapeError);
  Tape tape;
  tape.watch(weight);
  CHECK_FALSE(heads_linear(parts, kHeadSlots, 8, weight, Tensor()));
}

}  // namespace mixgrad::test
