#include <algorithm>
#include <cmath>

#include "autograd/tape.h"
#include "core/numeric/philox.h"
#include "ops/attention/attention.h"
#include "ops/attention/attention_block_sizes.h"
#include "ops/cases/cases.h"
#include "ops/shortcut_attention/shortcut_attention.h"

namespace mixgrad::test {
namespace {

using enum InputRole;

// What a dropout multiplies element i by, from the definition of its mask.
double dropout_factor(const DropoutMask& mask, std::int64_t i) {
  if (!mask.active()) return 1;
  const auto element = static_cast<std::uint64_t>(i);
  const RandomBits bits =
      random_bits(mask.seed, element / 4 + std::uint64_t{mask.place} * (std::uint64_t{1} << 48U), mask.draw + 1);
  return bits.words[element % 4] < mask.threshold ? 0 : 1 / (1 - static_cast<double>(mask.threshold) * 0x1p-32);
}

DropoutMask shortcut_mask(double rate) { return DropoutMask::of(rate, 9).in_step(4, 3, 2).at(17); }

// out_i = sum over the tokens j that i sees and over the sources m of p[i,(m,j)] v_(m,j); one softmax over all (m,j)
Tensor attended(const Tensor& q, const Tensor& k, const Tensor& v, const ShortcutAttentionOptions& options) {
  const std::int64_t time = q.dim(1);
  const std::int64_t sources = options.sources;
  const std::int64_t tokens = k.dim(1) / sources;
  const std::int64_t dh = q.dim(2) / options.heads;
  Tensor out = Tensor::zeros(q.shape(), DType::f64);
  for (std::int64_t b = 0; b < q.dim(0); ++b) {
    for (std::int64_t h = 0; h < options.heads; ++h) {
      const std::int64_t g = h / (options.heads / options.kv_heads);
      const auto kv_at = [&](std::int64_t m, std::int64_t j) {
        return ((b * tokens + j) * sources + m) * k.dim(2) + g * dh;
      };
      for (std::int64_t i = 0; i < time; ++i) {
        const std::int64_t q_at = (b * time + i) * q.dim(2) + h * dh;
        const std::int64_t last = i + tokens - time;
        const std::int64_t first = options.window > 0 ? std::max<std::int64_t>(0, last - options.window + 1) : 0;
        double total = 0;
        std::vector<double> p;
        for (std::int64_t m = 0; m < sources; ++m) {
          for (std::int64_t j = first; j <= last; ++j) {
            double score = 0;
            for (std::int64_t c = 0; c < dh; ++c) score += q.at(q_at + c) * k.at(kv_at(m, j) + c);
            p.push_back(score / std::sqrt(static_cast<double>(dh)));
          }
        }
        const double largest = *std::max_element(p.begin(), p.end());
        for (double& x : p) total += x = std::exp(x - largest);
        std::size_t n = 0;
        for (std::int64_t m = 0; m < sources; ++m) {
          for (std::int64_t j = first; j <= last; ++j, ++n) {
            const std::int64_t row = (b * options.heads + h) * time + i;
            p[n] *= dropout_factor(options.dropout, row * ((k.dim(1) + 3) / 4 * 4) + j * sources + m);
            for (std::int64_t c = 0; c < dh; ++c) {
              out.set(q_at + c, out.at(q_at + c) + p[n] / total * v.at(kv_at(m, j) + c));
            }
          }
        }
      }
    }
  }
  return out;
}

struct Sizes {
  std::int64_t batch, time, tokens, dh;
};

OpCase plain(const std::string& note, const Sizes& s, const ShortcutAttentionOptions& options, double scale = 1) {
  const Shape kv{s.batch, s.tokens * options.sources, options.kv_heads * s.dh};
  Tensor q = random_tensor({s.batch, s.time, options.heads * s.dh}, 1);
  for (std::int64_t i = 0; i < q.numel(); ++i) q.set(i, q.at(i) * scale);
  return {note,
          {q, random_tensor(kv, 2), random_tensor(kv, 3)},
          [=](std::span<const Tensor> in) { return std::vector{shortcut_attention(in[0], in[1], in[2], options)}; },
          [=](std::span<const Tensor> in) { return std::vector{attended(in[0], in[1], in[2], options)}; }};
}

// k and v side by side, as one product makes them: a row view of each, `extra` unused columns behind.
OpCase packed_kv(const std::string& note, const Sizes& s, const ShortcutAttentionOptions& options,
                 std::int64_t extra = 0) {
  const std::int64_t width = options.kv_heads * s.dh;
  const Shape rows{s.batch, s.tokens * options.sources, 2 * width + extra};
  return {
      note,
      {random_tensor({s.batch, s.time, options.heads * s.dh}, 5), random_tensor(rows, 6)},
      [=](std::span<const Tensor> in) {
        const Tensor& kv = in[1];
        return std::vector{shortcut_attention(in[0], columns(kv, 0, width), columns(kv, width, 2 * width), options)};
      },
      [=](std::span<const Tensor> in) {
        const Tensor& kv = in[1];
        return std::vector{attended(in[0], kv.column_view(0, width), kv.column_view(width, 2 * width), options)};
      },
      {activation, activation}};
}

std::vector<OpCase> some_cases() {
  return {
      plain("one element", {1, 1, 1, 1}, {}),
      plain("M=1 is attention", {2, 7, 7, 4}, {.heads = 2, .kv_heads = 2}),
      plain("M=3, G=H", {2, 5, 5, 3}, {.heads = 2, .kv_heads = 2, .sources = 3}),
      plain("M=2, H=4, G=2", {2, 6, 6, 3}, {.heads = 4, .kv_heads = 2, .sources = 2}),
      plain("M=5, H=3, G=1", {1, 9, 9, 5}, {.heads = 3, .kv_heads = 1, .sources = 5}),
      plain("T=1 with 11 tokens", {2, 1, 11, 3}, {.heads = 2, .kv_heads = 2, .sources = 3}),
      plain("S>T", {2, 3, 8, 5}, {.heads = 2, .kv_heads = 1, .sources = 2}),
      plain("dh=1, M=7", {1, 5, 5, 1}, {.heads = 3, .kv_heads = 3, .sources = 7}),
      plain("dh=65", {1, 4, 4, 65}, {.sources = 2}),
      plain("window 2", {2, 7, 7, 3}, {.heads = 2, .kv_heads = 2, .sources = 3, .window = 2}),
      plain("window 3, S>T", {2, 4, 9, 3}, {.heads = 2, .kv_heads = 1, .sources = 2, .window = 3}),
      plain("window beyond S", {1, 6, 6, 3}, {.sources = 2, .window = 100}),
      plain("T=40, M=3: across blocks", {1, 40, 40, 2}, {.sources = 3}),
      plain("T=70, S=75, M=2, window 33", {1, 70, 75, 2}, {.sources = 2, .window = 33}),
      plain("T=33, H=2, G=1, M=2, B=2", {2, 33, 33, 3}, {.heads = 2, .kv_heads = 1, .sources = 2}),
      plain("large scores: exp alone would overflow", {1, 6, 6, 4}, {.heads = 2, .kv_heads = 2, .sources = 2}, 60),
      plain("depth: one element", {1, 1, 1, 1}, {.window = 1}),
      plain("depth: M=1 gives v", {2, 5, 5, 3}, {.heads = 2, .kv_heads = 2, .window = 1}),
      plain("depth: M=3, G=H", {2, 5, 5, 3}, {.heads = 2, .kv_heads = 2, .sources = 3, .window = 1}),
      plain("depth: M=4, H=4, G=2", {2, 6, 6, 5}, {.heads = 4, .kv_heads = 2, .sources = 4, .window = 1}),
      plain("depth: H=3, G=1, M=2", {1, 9, 9, 1}, {.heads = 3, .kv_heads = 1, .sources = 2, .window = 1}),
      plain("depth: S>T, the past has no gradient", {2, 3, 5, 2}, {.sources = 2, .window = 1}),
      plain("depth: 140 rows of M=9, beyond a task", {1, 140, 140, 4},
            {.heads = 4, .kv_heads = 1, .sources = 9, .window = 1}),
      plain("depth: large scores", {1, 6, 6, 4}, {.heads = 2, .kv_heads = 2, .sources = 3, .window = 1}, 12),
      plain("dropout, M=3", {2, 7, 7, 3}, {.heads = 2, .kv_heads = 1, .sources = 3, .dropout = shortcut_mask(0.25)}),
      plain("dropout, T=40, M=3, window 9", {1, 40, 40, 2}, {.sources = 3, .window = 9, .dropout = shortcut_mask(0.5)}),
      plain("dropout, depth", {2, 9, 9, 3},
            {.heads = 2, .kv_heads = 1, .sources = 5, .window = 1, .dropout = shortcut_mask(0.25)}),
      plain("dropout, depth, S>T", {2, 3, 5, 2}, {.sources = 2, .window = 1, .dropout = shortcut_mask(0.5)}),
      packed_kv("kv, M=2", {2, 5, 5, 3}, {.heads = 2, .kv_heads = 2, .sources = 2}),
      packed_kv("kv, M=3, S>T, unused columns", {2, 4, 6, 3}, {.heads = 4, .kv_heads = 2, .sources = 3}, 2),
      packed_kv("kv, depth", {2, 5, 5, 3}, {.heads = 4, .kv_heads = 2, .sources = 3, .window = 1}, 1),
  };
}

// A cache for `capacity` tokens, full of NaN: nothing may be read before it was written. With a capacity below the
// number of tokens it is a ring of the last ones, which are all that a query sees.
CachedCase in_pieces(const std::string& note, const ShortcutAttentionOptions& options, std::int64_t capacity = 0) {
  const std::int64_t dh = 2;
  ShortcutAttentionOptions of_whole = options;
  if (capacity > 0) of_whole.window = capacity;
  return {
      .note = note,
      .inputs =
          [=](std::int64_t tokens) {
            const Shape kv{1, tokens * options.sources, options.kv_heads * dh};
            return std::vector{random_tensor({1, tokens, options.heads * dh}, 7), random_tensor(kv, 8),
                               random_tensor(kv, 9)};
          },
      .sequences = {0, 1, 2},
      .whole =
          [=](std::span<const Tensor> in) { return std::vector{shortcut_attention(in[0], in[1], in[2], of_whole)}; },
      .start = [=](std::span<const Tensor> in, std::int64_t tokens) -> PieceFunction {
        const Shape cache{1, (capacity > 0 ? capacity : tokens) * options.sources, options.kv_heads * dh};
        const Tensor keys = Tensor::full(cache, in[1].dtype(), std::nan(""), in[1].device());
        const Tensor values = Tensor::full(cache, in[2].dtype(), std::nan(""), in[2].device());
        return [=](std::span<const Tensor> p, std::int64_t position) {
          attention_append(p[1], p[2], keys, values, position, options.sources);
          return shortcut_attention_cached(p[0], keys, values, position, options);
        };
      },
      .longest_piece = capacity > 0 ? 1 : 0};
}

}  // namespace

OpCases shortcut_attention_cases() {
  OpCases all;
  all.cases = some_cases();
  all.cases.push_back(
      {"k and v are the same tensor, depth",
       {random_tensor({2, 5, 6}, 1), random_tensor({2, 10, 6}, 2)},
       [](std::span<const Tensor> in) {
         return std::vector{
             shortcut_attention(in[0], in[1], in[1], {.heads = 2, .kv_heads = 2, .sources = 2, .window = 1})};
       },
       [](std::span<const Tensor> in) {
         return std::vector{attended(in[0], in[1], in[1], {.heads = 2, .kv_heads = 2, .sources = 2, .window = 1})};
       },
       {activation, activation}});

  const Tensor q = random_tensor({2, 3, 6}, 1);
  const Tensor k = random_tensor({2, 6, 6}, 2);
  const ShortcutAttentionOptions two{.heads = 2, .kv_heads = 2, .sources = 2};
  all.errors = {
      {"no sources", [=] { shortcut_attention(q, k, k, {.heads = 2, .kv_heads = 2, .sources = 0}); },
       "shortcut_attention: sources must be at least 1, got 0"},
      {"rows that are not whole tokens",
       [=] {
         shortcut_attention(q, random_tensor({2, 7, 6}, 1), random_tensor({2, 7, 6}, 1), two);
       },
       "shortcut_attention: the keys must be a multiple of the 2 sources, got 7"},
      {"S < T",
       [=] {
         shortcut_attention(q, random_tensor({2, 4, 6}, 1), random_tensor({2, 4, 6}, 1), two);
       },
       "shortcut_attention: the keys must include those of the 3 queries, got 4 keys for q [2,3,6]"},
      {"H is no multiple of G", [=] { shortcut_attention(q, k, k, {.heads = 3, .kv_heads = 2, .sources = 2}); },
       "shortcut_attention: heads must be a multiple of kv_heads, got 3 and 2"},
      {"keys of another width",
       [=] {
         shortcut_attention(q, random_tensor({2, 6, 4}, 1), random_tensor({2, 6, 4}, 1), two);
       },
       "shortcut_attention: k and v must be [2,S,6] to match q [2,3,6] with 2 heads and 2 kv_heads, got [2,6,4]"},
      {"v not like k",
       [=] {
         shortcut_attention(q, k, random_tensor({2, 4, 6}, 1), two);
       },
       "shortcut_attention: v must be [2,6,6], got [2,4,6]"},
      {"window below 0", [=] { shortcut_attention(q, k, k, {.heads = 2, .kv_heads = 2, .sources = 2, .window = -1}); },
       "shortcut_attention: window must be at least 0 (0 = no limit), got -1"},
      {"k of another dtype", [=] { shortcut_attention(q, k.to(DType::f32), k, two); },
       "shortcut_attention: k must be f64 like the first input, got f32"},
      {"the mass of too few keys",
       [=] {
         shortcut_depth_mass(q, random_tensor({2, 4, 6}, 1), two);
       },
       "shortcut_depth_mass: the keys must include those of the 3 queries, got 4 keys for q [2,3,6]"},
  };
  all.cached = {in_pieces("two sources, a window of 33", {.heads = 2, .kv_heads = 1, .sources = 2, .window = 33}),
                in_pieces("three sources, depth", {.heads = 2, .kv_heads = 2, .sources = 3, .window = 1}),
                in_pieces("two sources, a ring of 40 tokens", {.heads = 2, .kv_heads = 1, .sources = 2}, 40)};
  all.block_sizes = kAttentionBlocks;
  all.with_size = [](std::string_view axis, std::int64_t size) {
    if (axis == "tokens") return plain("", {1, size, size, 1}, {.sources = 2});
    if (axis == "head channels") return plain("", {1, 16, 16, size}, {.sources = 2});
    raise_unknown_axis(axis);
  };
  return all;
}

OpBench shortcut_attention_bench() {
  return {.sizes = {{"B", 8, "sequences"},
                    {"T", 256, "tokens"},
                    {"M", 4, "sources"},
                    {"H", 6, "heads"},
                    {"G", 6, "key/value heads"},
                    {"D", 64, "channels of a head"},
                    {"W", 0, "tokens of the window, 0 = no limit", 0}},
          .counted =
              "4 D operations a head, query and visible row forward, 10 D backward, which computes the scores "
              "again",
          .make = [](const BenchSizes& s) -> BenchCall {
            const ShortcutAttentionOptions options{
                .heads = s["H"], .kv_heads = s["G"], .sources = s["M"], .window = s["W"]};
            const std::int64_t head = s["D"];
            double pairs = 0;
            for (std::int64_t t = 1; t <= s["T"]; ++t) {
              pairs += static_cast<double>((options.window > 0 ? std::min(t, options.window) : t) * options.sources);
            }
            const double product = 2 * pairs * static_cast<double>(s["B"] * options.heads * head);
            const BenchInput kv = BenchInput::normal({s["B"], s["T"] * options.sources, options.kv_heads * head});
            return {.inputs = {BenchInput::normal({s["B"], s["T"], options.heads * head}), kv, kv},
                    .run =
                        [=](std::span<const Tensor> in) {
                          return std::vector{shortcut_attention(in[0], in[1], in[2], options)};
                        },
                    .forward_operations = 2 * product,
                    .backward_operations = 5 * product,
                    .read_again = {0, 1, 2},
                    .outputs_read_again = {0}};
          }};
}

}  // namespace mixgrad::test
