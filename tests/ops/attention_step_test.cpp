// Attention of a decoding step on CUDA: each implementation against the plainest, at many positions of a cache, for
// caches of one and of many pieces.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "ops/attention/attention.h"
#include "ops/attention/attention_block_sizes.h"
#include "ops/attention/attention_kernels.h"
#include "ops/cases/cases.h"
#include "tests/support/close.h"
#include "tests/support/device.h"

#if defined(MIXGRAD_CUDA)

namespace mixgrad::test {
namespace {

using cuda::AttentionStepImplementation;

struct StepSizes {
  std::int64_t batch, capacity, head_dim;
  AttentionOptions options;
  std::int64_t sources = 1;  // rows of keys a token
  AttentionStepImplementation best = AttentionStepImplementation::split;
};

// Caches of up to kAttentionShortCache rows are for the pieces, longer ones and those of many heads for the clusters,
// whose blocks have more warps in a cache of more than kAttentionLongCache rows and few heads, and fewer for more than
// 256 heads of all sequences.
const std::vector<StepSizes> kStepSizes{
    {.batch = 1, .capacity = 3000, .head_dim = 64, .options = {.heads = 4, .kv_heads = 4}},
    {.batch = 1, .capacity = 9001, .head_dim = 64, .options = {.heads = 12, .kv_heads = 12}},
    {.batch = 1, .capacity = kAttentionLongCache + 77, .head_dim = 64, .options = {.heads = 2, .kv_heads = 2}},
    {.batch = 1, .capacity = kAttentionLongCache, .head_dim = 8, .options = {.heads = 3, .kv_heads = 3}},
    {.batch = 1, .capacity = kAttentionLongCache + 1, .head_dim = 8, .options = {.heads = 9, .kv_heads = 9}},
    {.batch = 2, .capacity = 6000, .head_dim = 24, .options = {.heads = 1, .kv_heads = 1}, .sources = 3},
    {.batch = 1, .capacity = 2100, .head_dim = 64, .options = {.heads = 30, .kv_heads = 6}},
    {.batch = 1, .capacity = 2200, .head_dim = 128, .options = {.heads = 12, .kv_heads = 1}},
    {.batch = 33, .capacity = 2100, .head_dim = 16, .options = {.heads = 8, .kv_heads = 1}},
    {.batch = 9, .capacity = 300, .head_dim = 64, .options = {.heads = 8, .kv_heads = 8}},
    {.batch = 33, .capacity = 300, .head_dim = 64, .options = {.heads = 8, .kv_heads = 8}},
    {.batch = 90, .capacity = 129, .head_dim = 16, .options = {.heads = 3, .kv_heads = 3}},
    {.batch = 40, .capacity = 130, .head_dim = 16, .options = {.heads = 16, .kv_heads = 8}},
    {.batch = 3, .capacity = 2049, .head_dim = 48, .options = {.heads = 2, .kv_heads = 1}},
    {.batch = 1, .capacity = 2600, .head_dim = 8, .options = {.heads = 3, .kv_heads = 3}},
    {.batch = 2, .capacity = 800, .head_dim = 32, .options = {.heads = 2, .kv_heads = 2}, .sources = 3},
    {.batch = 1, .capacity = 3000, .head_dim = 64, .options = {.heads = 2, .kv_heads = 2, .window = 2500}},
    {.batch = 1, .capacity = 3000, .head_dim = 64, .options = {.heads = 2, .kv_heads = 1, .window = 1}, .sources = 4},
    {.batch = 2, .capacity = 1025, .head_dim = 64, .options = {.heads = 6, .kv_heads = 2}},
    {.batch = 1, .capacity = 700, .head_dim = 128, .options = {.heads = 12, .kv_heads = 1}},
    {.batch = 3, .capacity = 513, .head_dim = 16, .options = {.heads = 2, .kv_heads = 2}},
    {.batch = 1, .capacity = 900, .head_dim = 48, .options = {.heads = 2, .kv_heads = 1}},
    {.batch = 1, .capacity = 40, .head_dim = 32, .options = {.heads = 4, .kv_heads = 4}},
    {.batch = 1, .capacity = 600, .head_dim = 8, .options = {.heads = 3, .kv_heads = 3}},
    {.batch = 2, .capacity = 400, .head_dim = 32, .options = {.heads = 2, .kv_heads = 2}, .sources = 3},
    {.batch = 1, .capacity = 1500, .head_dim = 64, .options = {.heads = 2, .kv_heads = 2, .window = 300}},
    {.batch = 1, .capacity = 1500, .head_dim = 64, .options = {.heads = 2, .kv_heads = 1, .window = 1}, .sources = 4},
    {.batch = 1,
     .capacity = 300,
     .head_dim = 45,
     .options = {.heads = 2, .kv_heads = 1},
     .best = AttentionStepImplementation::block},
    {.batch = 1,
     .capacity = 70,
     .head_dim = 264,
     .options = {.heads = 1, .kv_heads = 1},
     .best = AttentionStepImplementation::block},
};

// The rows of a cache of this size, in f64.
Tensor rows_of(const StepSizes& s, int seed) {
  return random_tensor({s.batch, s.capacity * s.sources, s.options.kv_heads * s.head_dim}, seed);
}

// These rows as a cache whose rows from `valid` on are NaN: nothing may read them.
Tensor cache_of(const Tensor& rows, std::int64_t valid, DType dtype) {
  const Tensor cache = rows.clone();
  const std::int64_t of_sequence = rows.dim(1) * rows.cols();
  for (std::int64_t b = 0; b < rows.dim(0); ++b) {
    double* first = cache.data<double>() + b * of_sequence;
    std::fill(first + valid * rows.cols(), first + of_sequence, std::numeric_limits<double>::quiet_NaN());
  }
  return cache.to(dtype).to(test_device());
}

}  // namespace

TEST_CASE("attention of a decoding step on CUDA: in pieces and in clusters it is what a block for each head gives") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  const bool has_clusters = cuda::has_warpgroup_attention(test_device());  // both came with compute capability 9.0
  for (const StepSizes& s : kStepSizes) {
    const Tensor key_rows = rows_of(s, 2);
    const Tensor value_rows = rows_of(s, 3);
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      const std::string type = dtype_name(dtype);
      CAPTURE(type);
      CAPTURE(s.capacity);
      CAPTURE(s.head_dim);
      const Tensor q = random_tensor({s.batch, 1, s.options.heads * s.head_dim}, 1).to(dtype).to(test_device());
      for (const std::int64_t position :
           {0L, 1L, 63L, 64L, 255L, 256L, 512L, 699L, 1024L, 1499L, s.capacity - 1, 9000L}) {
        if (position >= s.capacity && s.options.window > 0) continue;
        CAPTURE(position);
        const std::int64_t valid = std::min(position + 1, s.capacity) * s.sources;
        const Tensor k = cache_of(key_rows, valid, dtype);
        const Tensor v = cache_of(value_rows, valid, dtype);
        const auto run = [&](AttentionStepImplementation highest, TokenPosition at,
                             AttentionStepImplementation& chosen) {
          const Tensor out = Tensor::full(q.shape(), dtype, std::nan(""), test_device());
          chosen = cuda::attention_step(highest, q, k, v, at, s.sources, s.options, out);
          return out;
        };
        AttentionStepImplementation chosen{};
        const Tensor naive = run(AttentionStepImplementation::naive, position, chosen);
        CHECK(chosen == AttentionStepImplementation::naive);
        const Tensor block = run(AttentionStepImplementation::block, position, chosen);
        CHECK(chosen == AttentionStepImplementation::block);
        const Tensor split = run(AttentionStepImplementation::split, position, chosen);
        const AttentionStepImplementation second = chosen;
        const Tensor cluster = run(AttentionStepImplementation::cluster, position, chosen);
        if (has_clusters && second == AttentionStepImplementation::split && dtype != DType::f64 &&
            (s.capacity * s.sources > kAttentionShortCache || s.batch * s.options.kv_heads >= kAttentionManyHeads)) {
          CHECK(chosen == AttentionStepImplementation::cluster);
        }
        // 264 elements of f64 are more than a warp reads at once, and of f32 too
        if (s.best == AttentionStepImplementation::split && (dtype != DType::f64 || s.head_dim <= 64)) {
          CHECK(second == AttentionStepImplementation::split);
        }
        const double tolerance = dtype == DType::f64 ? 1e-13 : dtype == DType::f32 ? 5e-6 : 1e-2;
        // The same inputs in f64: over thousands of keys the naive kernel's own sums in f32 are further off than the
        // others.
        const Tensor exact = Tensor::full(q.shape(), DType::f64, std::nan(""), test_device());
        cuda::attention_step(AttentionStepImplementation::naive, q.to(DType::f64), k.to(DType::f64), v.to(DType::f64),
                             position, s.sources, s.options, exact);
        const double scale = largest_of(exact);
        CHECK(not_close_to_scale(naive, exact, dtype == DType::f32 ? 2e-5 : tolerance, scale) == kNothing);
        CHECK(not_close_to_scale(block, exact, tolerance, scale) == kNothing);
        CHECK(not_close_to_scale(split, exact, tolerance, scale) == kNothing);
        CHECK(not_close_to_scale(cluster, exact, tolerance, scale) == kNothing);
        CHECK(run(AttentionStepImplementation::split, position, chosen).equal_bits(split));
        CHECK(run(AttentionStepImplementation::cluster, position, chosen).equal_bits(cluster));
        const Tensor number = Tensor::empty({1}, DType::f64);  // the position's 64 bits
        std::memcpy(number.raw(), &position, sizeof position);
        const Tensor there = number.to(test_device());
        const TokenPosition on_device(0, static_cast<const std::int64_t*>(there.raw()));
        CHECK(run(AttentionStepImplementation::split, on_device, chosen).equal_bits(split));
        CHECK(run(AttentionStepImplementation::cluster, on_device, chosen).equal_bits(cluster));
      }
    }
  }
}

TEST_CASE(
    "attention_append_cached on CUDA: in one kernel the bits of attention_append and attention_cached, in all caches") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  for (const StepSizes& s : kStepSizes) {
    if (s.sources != 1) continue;
    const Tensor key_rows = rows_of(s, 2);
    const Tensor value_rows = rows_of(s, 3);
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      CAPTURE(s.capacity);
      CAPTURE(s.head_dim);
      const std::int64_t q_width = s.options.heads * s.head_dim;
      const std::int64_t width = s.options.kv_heads * s.head_dim;
      const Tensor packed = random_tensor({s.batch, 1, q_width + 2 * width}, 1).to(dtype).to(test_device());
      const Tensor q = packed.column_view(0, q_width);
      const Tensor k = packed.column_view(q_width, q_width + width);
      const Tensor v = packed.column_view(q_width + width, q_width + 2 * width);
      for (const std::int64_t position : {0L, 1L, 255L, 256L, 299L, s.capacity - 1, s.capacity, 3 * s.capacity + 17}) {
        if (position >= s.capacity && s.options.window > 0) continue;
        CAPTURE(position);
        const Tensor keys = cache_of(key_rows, std::min(position, s.capacity), dtype);
        const Tensor values = cache_of(value_rows, std::min(position, s.capacity), dtype);
        const Tensor keys_after = keys.clone();
        const Tensor values_after = values.clone();
        attention_append(k, v, keys_after, values_after, position);
        const Tensor want = attention_cached(q, keys_after, values_after, position, s.options);
        const Tensor got = attention_append_cached(q, k, v, keys, values, position, s.options);
        CHECK(got.to(kCpu).equal_bits(want.to(kCpu)));
        CHECK(keys.to(kCpu).equal_bits(keys_after.to(kCpu)));
        CHECK(values.to(kCpu).equal_bits(values_after.to(kCpu)));
      }
    }
  }
}

}  // namespace mixgrad::test

#endif
