#include "ops/causal_conv/causal_conv.h"

#include <cmath>

#include "autograd/tape.h"
#include "ops/cases/cases.h"
#include "ops/causal_conv/causal_conv_blocks.h"

namespace mixgrad::test {
namespace {

using enum InputRole;

// y[b,t,r,c] = silu(bias[r,c] + sum_w weight[r,c,w] x[b,t-(W-1)+w,r,c])
Tensor filtered(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const std::int64_t time = x.dim(1);
  const std::int64_t channels = x.dim(2) * x.dim(3);
  const std::int64_t taps = weight.dim(2);
  Tensor y = Tensor::empty(x.shape(), DType::f64);
  for (std::int64_t b = 0; b < x.dim(0); ++b) {
    for (std::int64_t t = 0; t < time; ++t) {
      for (std::int64_t c = 0; c < channels; ++c) {
        double sum = bias.at(c);
        for (std::int64_t w = 0; w < taps; ++w) {
          const std::int64_t from = t - (taps - 1) + w;
          if (from >= 0) sum += weight.at(c * taps + w) * x.at((b * time + from) * channels + c);
        }
        y.set((b * time + t) * channels + c, sum / (1 + std::exp(-sum)));
      }
    }
  }
  return y;
}

// x in the first half of the columns of [x;z], as a Mamba head has it.
OpCase packed(const std::string& note, const Shape& x, std::int64_t taps) {
  const std::int64_t channels = x[3];
  return {
      note,
      {random_tensor(x.with_last(2 * channels), 4), random_tensor({x[2], channels, taps}, 5),
       random_tensor({x[2], channels}, 6)},
      [=](std::span<const Tensor> in) { return std::vector{causal_conv(columns(in[0], 0, channels), in[1], in[2])}; },
      [=](std::span<const Tensor> in) {
        return std::vector{filtered(in[0].column_view(0, channels).clone(), in[1], in[2])};
      },
      {activation, parameter_f32, parameter_f32}};
}

OpCase plain(const std::string& note, const Shape& x, std::int64_t taps) {
  return {note,
          {random_tensor(x, 1), random_tensor({x[2], x[3], taps}, 2), random_tensor({x[2], x[3]}, 3)},
          [](std::span<const Tensor> in) { return std::vector{causal_conv(in[0], in[1], in[2])}; },
          [](std::span<const Tensor> in) { return std::vector{filtered(in[0], in[1], in[2])}; }};
}

// The last inputs are the whole memory of the filter.
CachedCase in_pieces(const std::string& note, std::int64_t taps) {
  return {.note = note,
          .inputs =
              [=](std::int64_t tokens) {
                return std::vector{random_tensor({2, tokens, 2, 3}, 7), random_tensor({2, 3, taps}, 8),
                                   random_tensor({2, 3}, 9)};
              },
          .sequences = {0},
          .whole = [](std::span<const Tensor> in) { return std::vector{causal_conv(in[0], in[1], in[2])}; },
          .start = [=](std::span<const Tensor> in, std::int64_t) -> PieceFunction {
            const Tensor history = Tensor::zeros({2, taps - 1, 2, 3}, in[0].dtype(), in[0].device());
            return [=](std::span<const Tensor> piece, std::int64_t) {
              return causal_conv_cached(piece[0], piece[1], piece[2], history);
            };
          }};
}

}  // namespace

OpCases causal_conv_cases() {
  OpCases all;
  all.cases = {
      plain("one element, one tap", {1, 1, 1, 1}, 1),
      plain("one element, four taps", {1, 1, 1, 1}, 4),
      plain("T=1, heads", {3, 1, 2, 5}, 4),
      plain("T below W", {2, 3, 2, 4}, 5),
      plain("T = W", {2, 4, 1, 3}, 4),
      plain("T = W+1", {2, 5, 1, 3}, 4),
      plain("one tap", {2, 9, 2, 3}, 1),
      plain("two taps, 17 channels", {2, 7, 1, 17}, 2),
      plain("seven taps", {1, 33, 3, 2}, 7),
      plain("65 tokens, beyond a block", {1, 65, 1, 2}, 4),
      plain("3 x 50 tokens, blocks across sequences", {3, 50, 2, 3}, 4),
      plain("130 tokens", {1, 130, 1, 2}, 3),
      plain("two taps, heads of 8 channels", {2, 21, 3, 8}, 2),
      plain("four taps, 35 heads of 4 channels", {3, 20, 35, 4}, 4),
      plain("T below W, channels in fours", {2, 2, 2, 4}, 4),
      packed("x is the first half of [x;z]", {2, 6, 3, 5}, 4),
      packed("x is the first half of [x;z], channels in fours", {2, 19, 3, 8}, 4),
  };

  const Tensor x = random_tensor({2, 3, 2, 5}, 1);
  const Tensor weight = random_tensor({2, 5, 4}, 2);
  const Tensor bias = random_tensor({2, 5}, 3);
  all.errors = {
      {"x without heads",
       [=] {
         causal_conv(random_tensor({2, 3, 10}, 1), weight, bias);
       },
       "causal_conv: x must be [B,T,R,C] (4 axes), got [2,3,10]"},
      {"weight of other channels",
       [=] {
         causal_conv(x, random_tensor({2, 4, 4}, 1), bias);
       },
       "causal_conv: weight must be [2,5,4], got [2,4,4]"},
      {"weight without taps",
       [=] {
         causal_conv(x, Tensor::zeros({2, 5, 0}, DType::f64), bias);
       },
       "causal_conv: weight must have at least one tap, got [2,5,0]"},
      {"weight with two axes",
       [=] {
         causal_conv(x, random_tensor({5, 4}, 1), bias);
       },
       "causal_conv: weight must be [R,C,W] (3 axes), got [5,4]"},
      {"bias of other heads",
       [=] {
         causal_conv(x, weight, random_tensor({1, 5}, 1));
       },
       "causal_conv: bias must be [2,5], got [1,5]"},
      {"no bias", [=] { causal_conv(x, weight, Tensor()); }, "causal_conv: bias is required, got an undefined tensor"},
      {"weight of another dtype", [=] { causal_conv(x, weight.to(DType::f32), bias); },
       "causal_conv: weight must be f64 like the first input, got f32"},
      {"i32",
       [=] {
         causal_conv(random_tokens({2, 3, 2, 5}, 5, 1), weight, bias);
       },
       "causal_conv: x must be f64, f32 or bf16, got i32"},
  };
  all.cached = {in_pieces("one tap", 1), in_pieces("four taps", 4), in_pieces("seven taps", 7)};
  all.block_sizes = kCausalConvBlocks;
  all.with_size = [](std::string_view axis, std::int64_t size) {
    if (axis == "tokens") return plain("", {2, size, 1, 4}, 3);
    if (axis == "channels") return plain("", {1, 18, 2, size}, 4);
    raise_unknown_axis(axis);
  };
  return all;
}

}  // namespace mixgrad::test
