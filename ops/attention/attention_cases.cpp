#include "ops/attention/attention.h"

#include <algorithm>
#include <cmath>

#include "autograd/tape.h"
#include "core/numeric/philox.h"
#include "ops/attention/attention_block_sizes.h"
#include "ops/cases/cases.h"

namespace mixgrad::test {
namespace {

using enum InputRole;

// What a dropout multiplies element i by, from the definition of its mask.
double dropout_factor(const DropoutMask& mask, std::int64_t i) {
  const auto element = static_cast<std::uint64_t>(i);
  const RandomBits bits =
      random_bits(mask.seed, element / 4 + std::uint64_t{mask.place} * (std::uint64_t{1} << 48U), mask.draw + 1);
  return bits.words[element % 4] < mask.threshold ? 0 : 1 / (1 - static_cast<double>(mask.threshold) * 0x1p-32);
}

DropoutMask attention_mask(double rate) { return DropoutMask::of(rate, 9).in_step(4, 3, 2).at(17); }

// out_i = sum_j p[i,j] v_j over j <= i + (S - T), and with a window w only j > i + (S - T) - w
Tensor attended(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
  const std::int64_t time = q.dim(1);
  const std::int64_t keys = k.dim(1);
  const std::int64_t q_width = q.dim(2);
  const std::int64_t kv_width = k.dim(2);
  const std::int64_t dh = q_width / options.heads;
  Tensor out = Tensor::empty(q.shape(), DType::f64);
  std::vector<double> p;
  for (std::int64_t b = 0; b < q.dim(0); ++b) {
    for (std::int64_t h = 0; h < options.heads; ++h) {
      const std::int64_t g = h / (options.heads / options.kv_heads);
      for (std::int64_t i = 0; i < time; ++i) {
        const std::int64_t q_at = (b * time + i) * q_width + h * dh;
        const std::int64_t last = i + keys - time;
        const std::int64_t first = options.window > 0 ? std::max<std::int64_t>(0, last - options.window + 1) : 0;
        const auto kv_at = [&](std::int64_t j) { return (b * keys + j) * kv_width + g * dh; };
        p.clear();
        for (std::int64_t j = first; j <= last; ++j) {
          double score = 0;
          for (std::int64_t c = 0; c < dh; ++c) score += q.at(q_at + c) * k.at(kv_at(j) + c);
          p.push_back(score / std::sqrt(static_cast<double>(dh)));
        }
        const double largest = *std::max_element(p.begin(), p.end());
        double total = 0;
        for (double& x : p) total += x = std::exp(x - largest);
        for (std::int64_t j = first; j <= last && options.dropout.active(); ++j) {
          const std::int64_t row = (b * options.heads + h) * time + i;
          p[static_cast<std::size_t>(j - first)] *= dropout_factor(options.dropout, row * ((keys + 3) / 4 * 4) + j);
        }
        for (std::int64_t c = 0; c < dh; ++c) {
          double sum = 0;
          for (std::int64_t j = first; j <= last; ++j) {
            sum += p[static_cast<std::size_t>(j - first)] / total * v.at(kv_at(j) + c);
          }
          out.set(q_at + c, sum);
        }
      }
    }
  }
  return out;
}

struct Sizes {
  std::int64_t batch, time, keys, dh;
};

Tensor scaled(const Tensor& x, double factor) {
  for (std::int64_t i = 0; i < x.numel(); ++i) x.set(i, x.at(i) * factor);
  return x;
}

OpCase plain(const std::string& note, const Sizes& s, const AttentionOptions& options, double scale = 1) {
  return {note,
          {scaled(random_tensor({s.batch, s.time, options.heads * s.dh}, 1), scale),
           random_tensor({s.batch, s.keys, options.kv_heads * s.dh}, 2),
           random_tensor({s.batch, s.keys, options.kv_heads * s.dh}, 3)},
          [=](std::span<const Tensor> in) { return std::vector{attention(in[0], in[1], in[2], options)}; },
          [=](std::span<const Tensor> in) { return std::vector{attended(in[0], in[1], in[2], options)}; }};
}

// One tensor with the columns q, k, v, `extra` unused ones before, between and behind.
OpCase packed(const std::string& note, const Sizes& s, const AttentionOptions& options, std::int64_t extra = 0) {
  const std::int64_t q = extra;
  const std::int64_t k = q + options.heads * s.dh + extra;
  const std::int64_t v = k + options.kv_heads * s.dh + extra;
  const std::int64_t end = v + options.kv_heads * s.dh;
  return {note,
          {random_tensor({s.batch, s.time, end + extra}, 4)},
          [=](std::span<const Tensor> in) {
            return std::vector{
                attention(columns(in[0], q, k - extra), columns(in[0], k, v - extra), columns(in[0], v, end), options)};
          },
          [=](std::span<const Tensor> in) {
            return std::vector{attended(in[0].column_view(q, k - extra), in[0].column_view(k, v - extra),
                                        in[0].column_view(v, end), options)};
          },
          {activation}};
}

// q on its own, k and v packed: what a cache or a second sequence looks like.
OpCase packed_kv(const std::string& note, const Sizes& s, const AttentionOptions& options) {
  const std::int64_t width = options.kv_heads * s.dh;
  return {
      note,
      {random_tensor({s.batch, s.time, options.heads * s.dh}, 5), random_tensor({s.batch, s.keys, 2 * width}, 6)},
      [=](std::span<const Tensor> in) {
        return std::vector{attention(in[0], columns(in[1], 0, width), columns(in[1], width, 2 * width), options)};
      },
      [=](std::span<const Tensor> in) {
        return std::vector{attended(in[0], in[1].column_view(0, width), in[1].column_view(width, 2 * width), options)};
      },
      {activation, activation}};
}

std::vector<OpCase> some_cases() {
  return {
      plain("one element", {1, 1, 1, 1}, {}),
      plain("T=1 with 17 keys", {2, 1, 17, 3}, {.heads = 2, .kv_heads = 2}),
      plain("T=7, G=H", {2, 7, 7, 4}, {.heads = 2, .kv_heads = 2}),
      plain("H=4, G=2", {2, 5, 5, 3}, {.heads = 4, .kv_heads = 2}),
      plain("H=3, G=1", {1, 9, 9, 5}, {.heads = 3, .kv_heads = 1}),
      plain("S>T", {2, 3, 8, 5}, {.heads = 2, .kv_heads = 1}),
      plain("dh=1", {1, 17, 17, 1}, {.heads = 3, .kv_heads = 3}),
      plain("dh=65", {1, 9, 9, 65}, {}),
      plain("window 1: only itself", {2, 7, 7, 3}, {.heads = 2, .kv_heads = 2, .window = 1}),
      plain("window 3", {2, 7, 7, 3}, {.heads = 2, .kv_heads = 1, .window = 3}),
      plain("window beyond S", {2, 7, 7, 3}, {.heads = 2, .kv_heads = 2, .window = 100}),
      plain("window = S", {1, 7, 7, 3}, {.window = 7}),
      plain("window 3, S>T", {2, 4, 9, 3}, {.heads = 2, .kv_heads = 2, .window = 3}),
      plain("window 5 that begins in the past, S>T", {1, 4, 6, 3}, {.window = 5}),
      plain("T=70, S=150: across blocks", {1, 70, 150, 2}, {}),
      plain("T=70, S=150, window 33", {1, 70, 150, 2}, {.window = 33}),
      plain("T=130, window 65", {1, 130, 130, 2}, {.window = 65}),
      plain("T=33, H=2, G=1, B=2", {2, 33, 33, 3}, {.heads = 2, .kv_heads = 1}),
      plain("T=65, window 1", {1, 65, 65, 2}, {.window = 1}),
      plain("large scores: exp alone would overflow", {1, 9, 9, 4}, {.heads = 2, .kv_heads = 2}, 60),
      // 16 queries and more: the tiles of the CUDA kernels, here of heads of whole 16-byte chunks
      plain("T=17, dh=16, H=2, G=1", {1, 17, 17, 16}, {.heads = 2, .kv_heads = 1}),
      plain("T=16, S=20, dh=8, window 5", {1, 16, 20, 8}, {.window = 5}),
      plain("dropout 0.25", {2, 7, 7, 3}, {.heads = 2, .kv_heads = 2, .dropout = attention_mask(0.25)}),
      plain("dropout 0.5, H=4, G=2, S>T", {2, 5, 9, 3}, {.heads = 4, .kv_heads = 2, .dropout = attention_mask(0.5)}),
      plain("dropout, T=70, S=150, window 33", {1, 70, 150, 2}, {.window = 33, .dropout = attention_mask(0.25)}),
      plain("dropout, T=130 of 16 channels", {1, 130, 130, 16}, {.heads = 2, .dropout = attention_mask(0.25)}),
      packed("dropout, qkv, T=18, dh=8", {1, 18, 18, 8}, {.heads = 2, .kv_heads = 1, .dropout = attention_mask(0.5)},
             8),
      packed("qkv, T=18, dh=8", {1, 18, 18, 8}, {.heads = 2, .kv_heads = 2}, 8),
      packed("qkv, G=H", {2, 7, 7, 3}, {.heads = 2, .kv_heads = 2}),
      packed("qkv, H=4, G=2, unused columns between", {2, 5, 5, 3}, {.heads = 4, .kv_heads = 2}, 2),
      packed("qkv, H=3, G=1, window 3", {1, 9, 9, 5}, {.heads = 3, .kv_heads = 1, .window = 3}),
      packed("qkv, T=70", {1, 70, 70, 2}, {.heads = 2, .kv_heads = 1}),
      packed_kv("kv, S>T", {2, 5, 12, 3}, {.heads = 2, .kv_heads = 2}),
      packed_kv("kv, T=S=40, H=4, G=1", {1, 40, 40, 2}, {.heads = 4, .kv_heads = 1}),
  };
}

// A cache for `capacity` tokens, full of NaN: nothing may be read before it was written. With a capacity below the
// number of tokens it is a ring of the last ones, which are all that a query sees.
CachedCase in_pieces(const std::string& note, const AttentionOptions& options, std::int64_t capacity = 0) {
  const std::int64_t dh = 2;
  AttentionOptions of_whole = options;
  if (capacity > 0) of_whole.window = capacity;
  return {.note = note,
          .inputs =
              [=](std::int64_t tokens) {
                const Shape kv{1, tokens, options.kv_heads * dh};
                return std::vector{random_tensor({1, tokens, options.heads * dh}, 7), random_tensor(kv, 8),
                                   random_tensor(kv, 9)};
              },
          .sequences = {0, 1, 2},
          .whole = [=](std::span<const Tensor> in) { return std::vector{attention(in[0], in[1], in[2], of_whole)}; },
          .start = [=](std::span<const Tensor> in, std::int64_t tokens) -> PieceFunction {
            const Shape cache{1, (capacity > 0 ? capacity : tokens), options.kv_heads * dh};
            const Tensor keys = Tensor::full(cache, in[1].dtype(), std::nan(""), in[1].device());
            const Tensor values = Tensor::full(cache, in[2].dtype(), std::nan(""), in[2].device());
            return [=](std::span<const Tensor> p, std::int64_t position) {
              attention_append(p[1], p[2], keys, values, position);
              return attention_cached(p[0], keys, values, position, options);
            };
          },
          .longest_piece = capacity > 0 ? 1 : 0};
}

}  // namespace

OpCases attention_cases() {
  OpCases all;
  all.cases = some_cases();
  all.cases.push_back({"k and v are the same tensor",
                       {random_tensor({2, 5, 6}, 1), random_tensor({2, 5, 6}, 2)},
                       [](std::span<const Tensor> in) {
                         return std::vector{attention(in[0], in[1], in[1], {.heads = 2, .kv_heads = 2})};
                       },
                       [](std::span<const Tensor> in) {
                         return std::vector{attended(in[0], in[1], in[1], {.heads = 2, .kv_heads = 2})};
                       },
                       {activation, activation}});
  all.cases.push_back({"q, k and v are the same tensor",
                       {random_tensor({1, 40, 4}, 3)},
                       [](std::span<const Tensor> in) {
                         return std::vector{attention(in[0], in[0], in[0], {.heads = 2, .kv_heads = 2})};
                       },
                       [](std::span<const Tensor> in) {
                         return std::vector{attended(in[0], in[0], in[0], {.heads = 2, .kv_heads = 2})};
                       },
                       {activation}});

  const AttentionOptions two{.heads = 2, .kv_heads = 2};
  const Tensor x = random_tensor({2, 3, 6}, 1);
  all.errors = {
      {"H is no multiple of G", [=] { attention(x, x, x, {.heads = 3, .kv_heads = 2}); },
       "attention: heads must be a multiple of kv_heads, got 3 and 2"},
      {"width is no multiple of H", [=] { attention(x, x, x, {.heads = 4, .kv_heads = 4}); },
       "attention: the last axis of q must be a multiple of 4 heads, got q [2,3,6]"},
      {"keys of another width",
       [=] {
         attention(x, random_tensor({2, 3, 4}, 1), random_tensor({2, 3, 4}, 1), two);
       },
       "attention: k and v must be [2,S,6] to match q [2,3,6] with 2 heads and 2 kv_heads, got [2,3,4]"},
      {"v not like k",
       [=] {
         attention(x, x, random_tensor({2, 4, 6}, 1), two);
       },
       "attention: v must be [2,3,6], got [2,4,6]"},
      {"S < T",
       [=] {
         attention(x, random_tensor({2, 2, 6}, 1), random_tensor({2, 2, 6}, 1), two);
       },
       "attention: the keys must include those of the 3 queries, got 2 keys for q [2,3,6]"},
      {"another batch",
       [=] {
         attention(x, random_tensor({1, 3, 6}, 1), random_tensor({1, 3, 6}, 1), two);
       },
       "attention: k and v must be [2,S,6] to match q [2,3,6] with 2 heads and 2 kv_heads, got [1,3,6]"},
      {"window below 0", [=] { attention(x, x, x, {.heads = 2, .kv_heads = 2, .window = -1}); },
       "attention: window must be at least 0 (0 = no limit), got -1"},
      {"no heads", [=] { attention(x, x, x, {.heads = 0, .kv_heads = 0}); },
       "attention: heads and kv_heads must be at least 1, got 0 and 0"},
      {"q without a batch axis",
       [=] {
         attention(random_tensor({3, 6}, 1), x, x, two);
       },
       "attention: q must be [B,T,H dh] (3 axes), got [3,6]"},
      {"k of another dtype", [=] { attention(x, x.to(DType::f32), x, two); },
       "attention: k must be f64 like the first input, got f32"},
      {"i32",
       [=] {
         attention(random_tokens({2, 3, 6}, 5, 1), x, x, two);
       },
       "attention: q must be f64, f32 or bf16, got i32"},
  };
  all.cached = {in_pieces("two heads", {.heads = 2, .kv_heads = 1}),
                in_pieces("a window of 33", {.heads = 2, .kv_heads = 2, .window = 33}),
                in_pieces("a ring of 40 tokens", {.heads = 2, .kv_heads = 1}, 40)};
  all.block_sizes = kAttentionBlocks;
  all.with_size = [](std::string_view axis, std::int64_t size) {
    if (axis == "tokens") return plain("", {1, size, size, 2}, {});
    if (axis == "head channels") return plain("", {1, 16, 16, size}, {});  // CUDA has tiles for 16 queries and more
    raise_unknown_axis(axis);
  };
  return all;
}

OpBench attention_bench() {
  return {.sizes = {{"B", 8, "sequences"},
                    {"T", 1024, "tokens"},
                    {"H", 12, "heads"},
                    {"G", 12, "key/value heads"},
                    {"D", 64, "channels of a head"},
                    {"W", 0, "tokens of the window, 0 = no limit", 0}},
          .counted =
              "4 D operations a head and visible pair of tokens forward, 10 D backward, which computes the "
              "scores again; q, k and v are columns of one tensor",
          .make = [](const BenchSizes& s) -> BenchCall {
            const AttentionOptions options{.heads = s["H"], .kv_heads = s["G"], .window = s["W"]};
            const std::int64_t head = s["D"];
            const std::int64_t packed = (options.heads + 2 * options.kv_heads) * head;
            double pairs = 0;
            for (std::int64_t t = 1; t <= s["T"]; ++t) {
              pairs += static_cast<double>(options.window > 0 ? std::min(t, options.window) : t);
            }
            const double product = 2 * pairs * static_cast<double>(s["B"] * options.heads * head);
            const BenchInput kv = BenchInput::normal({s["B"], s["T"], options.kv_heads * head}).in_rows_of(packed);
            return {
                .inputs = {BenchInput::normal({s["B"], s["T"], options.heads * head}).in_rows_of(packed), kv, kv},
                .run = [=](std::span<const Tensor> in) { return std::vector{attention(in[0], in[1], in[2], options)}; },
                .forward_operations = 2 * product,
                .backward_operations = 5 * product,
                .read_again = {0, 1, 2},
                .outputs_read_again = {0}};
          }};
}

}  // namespace mixgrad::test
