// nn/data/shuffle, sampling without replacement.
#include "nn/data/shuffle.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "nn/data/token_data.h"
#include "nn/tokenizers/ids_tokenizer.h"

namespace mixgrad {
namespace {

TEST_CASE("shuffle: every count and key gives a permutation") {
  for (const std::uint64_t count : {1U, 2U, 3U, 4U, 5U, 15U, 16U, 17U, 100U, 1000U, 4097U}) {
    for (const std::uint64_t key : {0ULL, 1ULL, 0xffffffffffffffffULL}) {
      std::vector<bool> seen(count);
      for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t at = permuted(i, count, key);
        REQUIRE(at < count);
        CHECK_FALSE(seen[at]);
        seen[at] = true;
      }
    }
  }
  const std::uint64_t large = std::uint64_t{1} << 40U;
  CHECK(permuted(large - 1, large, 7) < large);
  CHECK(permuted(0, large, 7) != permuted(0, large, 8));
}

TEST_CASE("shuffle: an epoch visits every window once, in an order of its own, and reaches the last tokens") {
  const WindowGrid grid = WindowGrid::of(1000, 7);  // 142 windows, 5 tokens are left over
  CHECK(grid.windows == 142);
  CHECK(grid.rest == 5);
  std::set<std::vector<std::int64_t>> orders;
  std::int64_t furthest = 0;
  for (const std::uint64_t seed : {1U, 2U}) {
    for (std::uint64_t epoch = 0; epoch < 20; ++epoch) {
      std::vector<std::int64_t> order;
      std::set<std::int64_t> windows;
      for (std::uint64_t i = 0; i < 142; ++i) order.push_back(shuffled_window(grid, seed, epoch * 142 + i));
      for (const std::int64_t begin : order) {
        CHECK(begin >= 0);
        CHECK(begin + 7 < 1000);
        CHECK(begin % 7 == order[0] % 7);
        windows.insert(begin);
        furthest = std::max(furthest, begin + 7);
      }
      CHECK(windows.size() == 142);
      orders.insert(order);
    }
  }
  CHECK(orders.size() == 40);
  CHECK(furthest == 999);
}

TEST_CASE("shuffle: batches are the windows of the counter, whatever the size of a batch and where a run is resumed") {
  std::vector<std::int32_t> ids(500);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i);
  TokenData data = TokenData::from_ids({.ids = ids, .train = 450, .source = "ids"}, ids_tokenizer(500));
  CHECK(data.sampling() == Sampling::random);
  data.set_sampling(Sampling::shuffle);
  const WindowGrid grid = WindowGrid::of(450, 8);
  const auto firsts = [&](std::int64_t rows, std::uint64_t from, int batches) {
    const Tensor tokens = Tensor::empty({rows, 8}, DType::i32);
    const Tensor targets = Tensor::empty({rows, 8}, DType::i32);
    Rng rng(3, kFirstDraw + from);
    std::vector<std::int32_t> found;
    for (int batch = 0; batch < batches; ++batch) {
      data.sample_batch(rng, tokens, targets);
      for (std::int64_t b = 0; b < rows; ++b) {
        found.push_back(tokens.data<std::int32_t>()[b * 8]);
        CHECK(targets.data<std::int32_t>()[b * 8 + 7] == found.back() + 8);
      }
    }
    CHECK(rng.counter() == kFirstDraw + from + static_cast<std::uint64_t>(rows * batches));
    return found;
  };
  const std::vector<std::int32_t> all = firsts(4, 0, 30);
  for (std::size_t i = 0; i < all.size(); ++i) CHECK(all[i] == shuffled_window(grid, 3, i));
  CHECK(firsts(3, 0, 40) == all);
  const std::vector<std::int32_t> rest = firsts(2, 40, 40);
  CHECK(std::equal(rest.begin(), rest.end(), all.begin() + 40));
}

}  // namespace
}  // namespace mixgrad
