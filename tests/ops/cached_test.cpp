// The forms of attention, shift and shift_mix for inference: they must agree with the recorded operators. What they and
// the probes of attention refuse.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "core/error.h"
#include "nn/mixers/attention_mixer.h"
#include "ops/attention/attention.h"
#include "ops/cases/cases.h"
#include "ops/embedding/embedding.h"
#include "ops/rope/rope.h"
#include "ops/shift_mix/shift_mix.h"
#include "ops/shortcut_attention/shortcut_attention.h"
#include "tests/support/attention_forms.h"
#include "tests/support/close.h"
#include "tests/support/steps.h"

namespace mixgrad::test {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// The first steps of x, NaN behind them up to `capacity`: nothing may read them.
Tensor in_cache(const Tensor& x, std::int64_t capacity) {
  Tensor cache = Tensor::full({x.dim(0), capacity, x.dim(2)}, x.dtype(), kNan);
  for (std::int64_t b = 0; b < x.dim(0); ++b) {
    for (std::int64_t i = 0; i < x.dim(1) * x.dim(2); ++i) {
      cache.set(b * capacity * x.dim(2) + i, x.at(b * x.dim(1) * x.dim(2) + i));
    }
  }
  return cache;
}

}  // namespace

TEST_CASE("attention_cached: the last T of the valid rows are the queries', rows behind are not read") {
  for (const AttentionForm& s : kAttentionForms) {
    for (const auto& [dtype, tolerance] : kAttentionPrecisions) {
      const Tensor q = random_tensor({s.batch, s.time, s.options.heads * s.dh}, 1).to(dtype);
      const Tensor k = random_tensor({s.batch, s.keys, s.options.kv_heads * s.dh}, 2).to(dtype);
      const Tensor v = random_tensor({s.batch, s.keys, s.options.kv_heads * s.dh}, 3).to(dtype);
      const Tensor want = attention(q, k, v, s.options);
      const std::int64_t position = s.keys - s.time;
      const Tensor got = attention_cached(q, in_cache(k, s.keys + 7), in_cache(v, s.keys + 7), position, s.options);
      const std::string difference = not_close(got, want, tolerance);
      CHECK(difference == kNothing);
    }
  }
}

TEST_CASE("attention_append: token by token and in pieces the ring holds the last tokens, each in its row") {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    for (const std::int64_t rows : {1, 3}) {  // of a token
      const std::int64_t capacity = 5;
      const Tensor packed = random_tensor({2, 14 * rows, 8}, 1).to(dtype);
      const Tensor keys = Tensor::full({2, capacity * rows, 3}, dtype, kNan);
      const Tensor values = Tensor::full({2, capacity * rows, 3}, dtype, kNan);
      std::int64_t position = 0;
      for (const std::int64_t piece : {1, 3, 1, 1, 5, 2, 1}) {
        const Tensor part = steps_of(packed, position * rows, (position + piece) * rows);
        attention_append(part.column_view(1, 4), part.column_view(5, 8), keys, values, position, rows);
        position += piece;
        for (std::int64_t b = 0; b < 2; ++b) {
          for (std::int64_t slot = 0; slot < capacity; ++slot) {
            std::int64_t token = slot;  // the last before `position` that has this slot
            while (token + capacity < position) token += capacity;
            for (std::int64_t i = 0; i < rows * 3; ++i) {
              const std::int64_t from = (b * packed.dim(1) + token * rows + i / 3) * 8 + i % 3;
              const std::int64_t to = (b * capacity + slot) * rows * 3 + i;
              if (token >= position) {
                CHECK(std::isnan(keys.at(to)));
              } else {
                CHECK(keys.at(to) == packed.at(from + 1));
                CHECK(values.at(to) == packed.at(from + 5));
              }
            }
          }
        }
      }
    }
  }
}

TEST_CASE("attention_cached: beyond the capacity a single query sees the whole ring, as many keys as in order") {
  const AttentionOptions options{.heads = 4, .kv_heads = 2};
  const std::int64_t capacity = 6;
  for (const auto& [dtype, tolerance] : kAttentionPrecisions) {
    const Tensor q = random_tensor({2, 1, 12}, 1).to(dtype);
    const Tensor k = random_tensor({2, 20, 6}, 2).to(dtype);
    const Tensor v = random_tensor({2, 20, 6}, 3).to(dtype);
    const Tensor keys = Tensor::full({2, capacity, 6}, dtype, kNan);
    const Tensor values = Tensor::full({2, capacity, 6}, dtype, kNan);
    for (std::int64_t t = 0; t < 20; ++t) {
      attention_append(steps_of(k, t, t + 1), steps_of(v, t, t + 1), keys, values, t);
      const std::int64_t first = std::max<std::int64_t>(0, t + 1 - capacity);
      const Tensor want = attention(q, steps_of(k, first, t + 1), steps_of(v, first, t + 1), options);
      CHECK(not_close(attention_cached(q, keys, values, t, options), want, tolerance) == kNothing);
    }
  }
}

TEST_CASE("attention_append_cached: what attention_append and attention_cached give, and one token at a time") {
  const AttentionOptions options{.heads = 4, .kv_heads = 2};
  for (const auto& [dtype, tolerance] : kAttentionPrecisions) {
    const Tensor q = random_tensor({2, 1, 12}, 1).to(dtype);
    const Tensor k = random_tensor({2, 1, 6}, 2).to(dtype);
    const Tensor v = random_tensor({2, 1, 6}, 3).to(dtype);
    for (const std::int64_t position : {0, 4, 5, 17}) {
      const Tensor keys = random_tensor({2, 6, 6}, 4).to(dtype);
      const Tensor values = random_tensor({2, 6, 6}, 5).to(dtype);
      const Tensor keys_after = keys.clone();
      const Tensor values_after = values.clone();
      attention_append(k, v, keys_after, values_after, position);
      const Tensor want = attention_cached(q, keys_after, values_after, position, options);
      CHECK(attention_append_cached(q, k, v, keys, values, position, options).equal_bits(want));
      CHECK(keys.equal_bits(keys_after));
      CHECK(values.equal_bits(values_after));
    }
  }
  const Tensor x = random_tensor({1, 2, 4}, 1);
  const Tensor cache = random_tensor({1, 6, 4}, 2);
  CHECK(error_text<ShapeError>([&] { attention_append_cached(x, x, x, cache, cache, 0, {}); }) ==
        "attention_append_cached: one token is required, got q [1,2,4] and k [1,2,4]");
}

TEST_CASE("shift_mix_cached: pieces of a sequence give what the whole gives, and the ring is not read too early") {
  using Shifts = std::vector<std::int64_t>;
  for (const Shifts& shifts : {Shifts{1}, Shifts{1, 3}, Shifts{4, 2, 11}, Shifts{12, 1000, 5}}) {
    for (const Boundary boundary : {Boundary::zero, Boundary::self}) {
      for (const bool vector_form : {false, true}) {
        for (const auto& [dtype, tolerance] : kAttentionPrecisions) {
          const ShiftOptions options{.shifts = shifts, .boundary = boundary};
          const auto heads = static_cast<std::int64_t>(shifts.size());
          const std::int64_t width = 6;
          const Tensor x = random_tensor({2, 12, width}, 1).to(dtype);
          const Tensor a = random_tensor({vector_form ? width : heads}, 2).to(dtype);
          const Tensor b = random_tensor({vector_form ? width : heads}, 3).to(dtype);
          const Tensor want = shift_mix(x, a, b, options);
          std::int64_t size = 0;
          for (const std::int64_t s : shifts) size += s * width / heads;
          const Tensor ring = Tensor::full({2, size}, dtype, kNan);
          std::int64_t position = 0;
          for (const std::int64_t piece : {1, 1, 4, 5, 1}) {
            const Tensor got = shift_mix_cached(steps_of(x, position, position + piece), a, b, ring, position, options);
            const std::string difference = not_close(got, steps_of(want, position, position + piece), tolerance);
            CHECK(difference == kNothing);
            position += piece;
          }
        }
      }
    }
  }
}

TEST_CASE("shift_cached: pieces of a sequence give what the whole gives, and the ring is not read too early") {
  using Shifts = std::vector<std::int64_t>;
  for (const Shifts& shifts : {Shifts{1}, Shifts{1, 3}, Shifts{4, 2, 11}, Shifts{12, 1000, 5}}) {
    for (const Boundary boundary : {Boundary::zero, Boundary::self}) {
      for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        const ShiftOptions options{.shifts = shifts, .boundary = boundary};
        const Tensor x = random_tensor({2, 12, 6}, 1).to(dtype);
        const Tensor want = shift(x, options);
        const Tensor ring = Tensor::full({2, ring_elements(6, shifts)}, dtype, kNan);
        std::int64_t position = 0;
        for (const std::int64_t piece : {1, 1, 4, 5, 1}) {
          const Tensor got = shift_cached(steps_of(x, position, position + piece), ring, position, options);
          CHECK(got.equal_bits(steps_of(want, position, position + piece)));
          position += piece;
        }
      }
    }
  }
}

TEST_CASE("cached forms: a tracked input is an error, since nothing would be recorded") {
  Tape tape;
  Tensor x = random_tensor({1, 3, 4}, 1);
  const Tensor other = random_tensor({1, 3, 4}, 1);
  const Tensor lse = random_tensor({1, 1, 3}, 1);
  const Tensor one = random_tensor({1}, 2);
  const std::vector<std::int64_t> shifts{2};
  tape.watch(x);
  const auto text = [](const auto& call) { return error_text<GradError>(call); };
  CHECK(text([&] { attention_cached(x, other, other, 0, {}); }) ==
        std::string("attention_cached: is not differentiable, but q [1,3,4] is tracked; detach() it"));
  CHECK(text([&] { attention_with_lse(x, other, other, {}); }) ==
        std::string("attention_with_lse: is not differentiable, but q [1,3,4] is tracked; detach() it"));
  CHECK(text([&] { attention_recency(x, other, lse, 1, {}); }) ==
        std::string("attention_recency: is not differentiable, but q [1,3,4] is tracked; detach() it"));
  CHECK(text([&] {
          shift_mix_cached(x, one, one, random_tensor({1, 8}, 1), 0, {.shifts = shifts});
        }) == std::string("shift_mix_cached: is not differentiable, but x [1,3,4] is tracked; detach() it"));
  Tensor scale = random_tensor({1}, 2);
  tape.watch(scale);
  const std::string want = "shift_mix_cached: is not differentiable, but ";
  CHECK(text([&] {
          shift_mix_cached(other, scale, one, random_tensor({1, 8}, 1), 0, {.shifts = shifts});
        }) == want + "a [1] is tracked; detach() it");
  CHECK(text([&] {
          shift_mix_cached(other, one, scale, random_tensor({1, 8}, 1), 0, {.shifts = shifts});
        }) == want + "b [1] is tracked; detach() it");
  CHECK(text([&] {
          shift_cached(x, random_tensor({1, 8}, 1), 0, {.shifts = shifts});
        }) == std::string("shift_cached: is not differentiable, but x [1,3,4] is tracked; detach() it"));
}

TEST_CASE("cached forms: sizes that do not fit are errors") {
  const Tensor x = random_tensor({1, 3, 4}, 1);
  const Tensor one = random_tensor({1}, 2);
  const std::vector<std::int64_t> shifts{2};
  const auto text = [](const auto& call) { return error_text<Error>(call); };
  CHECK(
      text([&] { attention_cached(x, x, x, 1, {}); }) ==
      std::string("attention_cached: the cache of 3 tokens must hold the 1 before and the 3 of this call; beyond that "
                  "give one at a time, without a window"));
  CHECK(
      text([&] { attention_cached(steps_of(x, 0, 1), x, x, 3, {.window = 2}); }) ==
      std::string("attention_cached: the cache of 3 tokens must hold the 3 before and the 1 of this call; beyond that "
                  "give one at a time, without a window"));
  CHECK(text([&] { attention_cached(x, x, x, -1, {}); }) ==
        std::string("attention_cached: position must be at least 0, got -1"));
  CHECK(text([&] {
          attention_cached(steps_of(x, 0, 1), x, one.reshape({1, 1, 1}), 0, {});
        }) == std::string("attention_cached: v must be [1,3,4], got [1,1,1]"));
  CHECK(text([&] {
          attention_append(x, x, x, one.reshape({1, 1, 1}), 0);
        }) == std::string("attention_append: v_cache must be [1,3,4], got [1,1,1]"));
  CHECK(text([&] { attention_append(x, x, x, x, -2); }) ==
        std::string("attention_append: position must be at least 0, got -2"));
  CHECK(
      text([&] { attention_append(x, x, x, x, 0, 2); }) ==
      std::string("attention_append: the rows of k and k_cache must be a multiple of rows_per_token, which is at least "
                  "1, and k must fit into k_cache, got k [1,3,4], k_cache [1,3,4] and 2"));
  CHECK(text([&] {
          attention_recency(x, x, random_tensor({1, 3, 1}, 1), 1, {});
        }) == std::string("attention_recency: lse must be [1,1,3], got [1,3,1]"));
  CHECK(text([&] {
          attention_recency(x, x, random_tensor({1, 1, 3}, 1), -1, {});
        }) == std::string("attention_recency: the window must be at least 0, got -1"));
  CHECK(text([&] {
          shift_mix_cached(x, one, one, random_tensor({1, 7}, 1), 0, {.shifts = shifts});
        }) == std::string("shift_mix_cached: ring must be [1,8], got [1,7]"));
  CHECK(text([&] {
          shift_mix_cached(x, one, one, random_tensor({1, 8}, 1), -1, {.shifts = shifts});
        }) == std::string("shift_mix_cached: position must be at least 0, got -1"));
  CHECK(text([&] {
          shift_cached(x, random_tensor({2, 8}, 1), 0, {.shifts = shifts});
        }) == std::string("shift_cached: ring must be [1,8], got [2,8]"));
  CHECK(text([&] {
          shift_cached(x, random_tensor({1, 8}, 1), -1, {.shifts = shifts});
        }) == std::string("shift_cached: position must be at least 0, got -1"));
}

TEST_CASE("a position in the memory of a device: refused for tensors on the host, by every operator that takes one") {
  const Tensor x = random_tensor({1, 1, 4}, 1);
  const Tensor one = random_tensor({1}, 2);
  const Tensor ring = random_tensor({1, 8}, 1);
  const Tensor tokens = Tensor::zeros({1, 1}, DType::i32);
  const std::vector<std::int64_t> shifts{2};
  const std::int64_t number = 0;
  const TokenPosition there(0, &number);
  const auto text = [](const auto& call) { return error_text<DeviceError>(call); };
  const auto want = [](const std::string& op, const std::string& name) {
    return op + ": " + name + " must be a number of the host for tensors on cpu, got one in the memory of a CUDA " +
           "device; copy the tensors there";
  };
  CHECK(text([&] { attention_cached(x, x, x, there, {}); }) == want("attention_cached", "position"));
  CHECK(text([&] { attention_append(x, x, x, x, there); }) == want("attention_append", "position"));
  CHECK(text([&] { shortcut_attention_cached(x, x, x, there, {}); }) == want("shortcut_attention_cached", "position"));
  CHECK(text([&] { shift_cached(x, ring, there, {.shifts = shifts}); }) == want("shift_cached", "position"));
  CHECK(text([&] { shift_mix_cached(x, one, one, ring, there, {.shifts = shifts}); }) ==
        want("shift_mix_cached", "position"));
  CHECK(text([&] { rope(x, {.heads = 1, .head_dim = 4, .first_position = there}); }) == want("rope", "first_position"));
  CHECK(text([&] { embedding(tokens, x.reshape({1, 4}), Tensor(), there); }) == want("embedding", "first_position"));
}

}  // namespace mixgrad::test
