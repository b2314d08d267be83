// The table of angles of a CPU. The operator itself is checked by its cases.
#include <doctest/doctest.h>

#include "core/allocator.h"
#include "ops/cases/cases.h"
#include "ops/rope/rope.h"

namespace mixgrad::test {
namespace {

TEST_CASE("rope: beyond 65,536 positions the table of a CPU moves along and grows no more") {
  const Tensor x = random_tensor({1, 1, 64}, 3);
  const auto at = [&](std::int64_t position) {
    return rope(x, {.heads = 1, .head_dim = 64, .theta = 7777, .first_position = position});
  };
  (void)at(65535);
  (void)at(65536);
  const std::size_t before = pool_stats(Device{}).in_use;
  for (std::int64_t position = 70000; position < 1'000'000'000; position = position * 3 / 2) {
    (void)at(position);
    CHECK(pool_stats(Device{}).in_use <= before);  // less where memory of earlier tests is given back late
  }
}

}  // namespace
}  // namespace mixgrad::test
