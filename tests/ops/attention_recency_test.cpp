// The probes of attention: log sum exp of the scores, and the mass of attention on the last keys.
#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "nn/mixers/attention_mixer.h"
#include "ops/attention/attention.h"
#include "ops/cases/cases.h"
#include "tests/support/attention_forms.h"
#include "tests/support/close.h"

namespace mixgrad::test {

TEST_CASE("attention_with_lse: the output of attention, and log sum exp of the visible scores") {
  for (const AttentionForm& s : kAttentionForms) {
    for (const auto& [dtype, tolerance] : kAttentionPrecisions) {
      const AttentionOptions& o = s.options;
      const Tensor q = random_tensor({s.batch, s.time, o.heads * s.dh}, 1).to(dtype);
      const Tensor k = random_tensor({s.batch, s.keys, o.kv_heads * s.dh}, 2).to(dtype);
      const Tensor v = random_tensor({s.batch, s.keys, o.kv_heads * s.dh}, 3).to(dtype);
      const AttentionWithLse got = attention_with_lse(q, k, v, o);
      CHECK(got.out.equal_bits(attention(q, k, v, o)));
      CHECK(got.lse.dtype() == accumulation_dtype(dtype));
      const Tensor want = Tensor::empty({s.batch, o.heads, s.time}, DType::f64);
      for (std::int64_t b = 0; b < s.batch; ++b) {
        for (std::int64_t h = 0; h < o.heads; ++h) {
          for (std::int64_t i = 0; i < s.time; ++i) {
            double sum = 0;
            for (std::int64_t j = 0; j <= i + s.keys - s.time; ++j) {
              if (o.window > 0 && j <= i + s.keys - s.time - o.window) continue;
              double score = 0;
              for (std::int64_t c = 0; c < s.dh; ++c) {
                score += q.at(((b * s.time + i) * o.heads + h) * s.dh + c) *
                         k.at(((b * s.keys + j) * o.kv_heads + h / (o.heads / o.kv_heads)) * s.dh + c);
              }
              sum += std::exp(score / std::sqrt(static_cast<double>(s.dh)));
            }
            want.set((b * o.heads + h) * s.time + i, std::log(sum));
          }
        }
      }
      const std::string difference = not_close(got.lse, want, tolerance);
      CHECK(difference == kNothing);
    }
  }
}

TEST_CASE("attention_profile: first key, entropy and distances are those of plain loops, whatever the window") {
  const std::int64_t time = 70;
  CHECK(attention_ranges(1) == 1);
  CHECK(attention_ranges(2) == 2);
  CHECK(attention_ranges(3) == 3);
  CHECK(attention_ranges(4) == 3);
  CHECK(attention_ranges(5) == 4);
  CHECK(attention_ranges(70) == 8);
  for (const auto& [dtype, tolerance] : kAttentionPrecisions) {
    for (const std::int64_t window : {0, 1, 9, 100}) {
      CAPTURE(window);
      const AttentionOptions options{.heads = 4, .kv_heads = 2, .window = window};
      const Tensor q = random_tensor({2, time, 12}, 1).to(dtype);
      const Tensor k = random_tensor({2, time, 6}, 2).to(dtype);
      const Tensor lse = attention_with_lse(q, k, k, options).lse;
      const Tensor want = Tensor::zeros({2, 4, 10}, DType::f64);
      for (std::int64_t row = 0; row < 8; ++row) {
        const std::int64_t b = row / 4;
        const std::int64_t h = row % 4;
        for (std::int64_t i = 0; i < time; ++i) {
          std::vector<double> weights;
          double total = 0;
          for (std::int64_t j = 0; j <= i; ++j) {
            double score = 0;
            for (std::int64_t c = 0; c < 3; ++c) {
              score += q.at((b * time + i) * 12 + h * 3 + c) * k.at((b * time + j) * 6 + h / 2 * 3 + c);
            }
            weights.push_back(window > 0 && j <= i - window ? 0 : std::exp(score / std::sqrt(3.0)));
            total += weights.back();
          }
          const auto add = [&](std::int64_t column, double value) {
            want.set(row * 10 + column, want.at(row * 10 + column) + value);
          };
          for (std::int64_t j = 0; j <= i; ++j) {
            const double p = weights[static_cast<std::size_t>(j)] / total;
            if (p == 0) continue;
            std::int64_t range = 0;
            while (i - j >= (std::int64_t{1} << range)) ++range;
            if (j == 0) add(0, p);
            add(1, -p * std::log(p));
            add(2 + range, p);
          }
        }
      }
      const std::string difference = not_close(attention_profile(q, k, lse, options), want, tolerance);
      CHECK(difference == kNothing);
    }
  }
}

TEST_CASE("uniform_recency: the recency of a head whose queries are zero") {
  for (const std::int64_t time : {1, 2, 9, 37}) {
    const Tensor q = Tensor::zeros({1, time, 2}, DType::f64);
    const Tensor k = random_tensor({1, time, 2}, 1);
    const Tensor lse = attention_with_lse(q, k, k, {}).lse;
    for (const std::int64_t window : {0, 1, 4, 8, 36, 100}) {
      const double ratio = attention_recency(q, k, lse, window, {}).item();
      CAPTURE(time);
      CAPTURE(window);
      CHECK(std::abs(uniform_recency(time, window) - ratio) <= 1e-14);
      for (const std::int64_t attention_window : {1, 2, 5, 9, 36, 37, 100}) {
        const AttentionOptions windowed{.window = attention_window};
        const Tensor of_window = attention_with_lse(q, k, k, windowed).lse;
        const double seen = attention_recency(q, k, of_window, window, windowed).item();
        CAPTURE(attention_window);
        CHECK(std::abs(uniform_recency(time, window, attention_window) - seen) <= 3e-14);
      }
    }
  }
}

TEST_CASE("attention_recency: the mean mass on the last keys, query i itself included") {
  const AttentionOptions options{.heads = 4, .kv_heads = 2};
  const std::int64_t time = 37;
  for (const auto& [dtype, tolerance] : kAttentionPrecisions) {
    const Tensor q = random_tensor({2, time, 12}, 1).to(dtype);
    const Tensor k = random_tensor({2, time, 6}, 2).to(dtype);
    const Tensor v = random_tensor({2, time, 6}, 3).to(dtype);
    const Tensor lse = attention_with_lse(q, k, v, options).lse;
    for (const std::int64_t window : {0, 1, 5, 36, 37, 1000}) {
      const Tensor want = Tensor::zeros({4}, DType::f64);
      for (std::int64_t b = 0; b < 2; ++b) {
        for (std::int64_t h = 0; h < 4; ++h) {
          for (std::int64_t i = 0; i < time; ++i) {
            double all = 0;
            double recent = 0;
            for (std::int64_t j = 0; j <= i; ++j) {
              double score = 0;
              for (std::int64_t c = 0; c < 3; ++c) {
                score += q.at((b * time + i) * 12 + h * 3 + c) * k.at((b * time + j) * 6 + h / 2 * 3 + c);
              }
              const double weight = std::exp(score / std::sqrt(3.0));
              all += weight;
              if (j >= i - window) recent += weight;
            }
            want.set(h, want.at(h) + recent / all / static_cast<double>(2 * time));
          }
        }
      }
      const std::string difference = not_close(attention_recency(q, k, lse, window, options), want, tolerance);
      CHECK(difference == kNothing);
      if (window >= time) CHECK(std::abs(want.at(0) - 1) < 1e-12);
    }
  }
}

TEST_CASE("attention_recency: with a sliding window at most the visible keys count") {
  const AttentionOptions options{.heads = 2, .kv_heads = 2, .window = 3};
  const Tensor q = random_tensor({1, 20, 6}, 1);
  const Tensor k = random_tensor({1, 20, 6}, 2);
  const Tensor lse = attention_with_lse(q, k, k, options).lse;
  const Tensor all = attention_recency(q, k, lse, 9, options);
  CHECK(std::abs(all.at(0) - 1) < 1e-12);
  CHECK(std::abs(all.at(1) - 1) < 1e-12);
}

}  // namespace mixgrad::test
