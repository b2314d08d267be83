#include "ema_cases.h"

#include <cmath>

#include "ema.h"
#include "ema_kernels.h"

namespace ema {
namespace {

using namespace mixgrad;
using namespace mixgrad::test;

// The formula in plain loops over double.
Tensor averaged(const Tensor& x, const Tensor& gate) {
  Tensor y = Tensor::empty(x.shape(), DType::f64);
  for (std::int64_t b = 0; b < x.dim(0); ++b) {
    for (std::int64_t c = 0; c < x.dim(2); ++c) {
      const double g = 1 / (1 + std::exp(-gate.at(c)));
      double mean = 0;
      for (std::int64_t t = 0; t < x.dim(1); ++t) {
        const std::int64_t i = (b * x.dim(1) + t) * x.dim(2) + c;
        mean = g * mean + (1 - g) * x.at(i);
        y.set(i, mean);
      }
    }
  }
  return y;
}

OpCase plain(const std::string& note, const Shape& x) {
  return {note,
          {random_tensor(x, 1), random_tensor({x[2]}, 2)},
          [](std::span<const Tensor> in) { return std::vector{ema(in[0], in[1])}; },
          [](std::span<const Tensor> in) { return std::vector{averaged(in[0], in[1])}; }};
}

// A memory of a thousand tokens and a mean that is not zero: an average that is kept in bf16 would drift away.
CachedCase slow() {
  return {.note = "slow gates",
          .inputs =
              [](std::int64_t tokens) {
                const Tensor x = random_tensor({2, tokens, 3}, 3);
                for (std::int64_t i = 0; i < x.numel(); ++i) x.set(i, 1 + x.at(i));
                return std::vector{x, Tensor::from(std::vector<double>{7.0, 2.0, -1.0}, {3}, DType::f64)};
              },
          .sequences = {0},
          .whole = [](std::span<const Tensor> in) { return std::vector{ema(in[0], in[1])}; },
          .start = [](std::span<const Tensor> in, std::int64_t) -> PieceFunction {
            const Tensor state = Tensor::zeros({in[0].dim(0), in[0].dim(2)}, in[1].dtype(), in[0].device());
            return
                [state](std::span<const Tensor> piece, std::int64_t) { return ema_cached(piece[0], piece[1], state); };
          }};
}

}  // namespace

OpCases cases() {
  OpCases all;
  all.cases = {
      plain("one element", {1, 1, 1}),
      plain("T=1", {3, 1, 5}),
      plain("17 tokens, 3 channels", {2, 17, 3}),
      {"packed: x is the second half of a wider tensor",
       {random_tensor({2, 5, 8}, 4), random_tensor({4}, 5)},
       [](std::span<const Tensor> in) { return std::vector{ema(columns(in[0], 4, 8), in[1])}; },
       [](std::span<const Tensor> in) { return std::vector{averaged(in[0].column_view(4, 8).clone(), in[1])}; },
       {InputRole::activation, InputRole::parameter_f32}},
  };
  all.errors = {
      {"x without channels",
       [] {
         ema(random_tensor({2, 3}, 1), random_tensor({3}, 2));
       },
       "ema: x must be [B,T,C] (3 axes), got [2,3]"},
      {"a gate too few",
       [] {
         ema(random_tensor({2, 3, 4}, 1), random_tensor({3}, 2));
       },
       "ema: gate must be [4], got [3]"},
      {"a state of another batch",
       [] {
         ema_cached(random_tensor({2, 3, 4}, 1), random_tensor({4}, 2), random_tensor({1, 4}, 3));
       },
       "ema_cached: state must be [2,4], got [1,4]"},
  };
  all.cached = {slow()};
  static constexpr BlockSize kSizes[] = {{"channels", kChannelsOfTask}};  // cases with 63, 64 and 65 channels
  all.block_sizes = kSizes;
  all.with_size = [](std::string_view, std::int64_t size) {
    return plain(std::to_string(size) + " channels", {2, 3, size});
  };
  return all;
}

OpBench bench() {
  return {.sizes = {{"B", 8, "sequences"}, {"T", 1024, "tokens"}, {"C", 64, "channels"}},
          .counted = "3 operations an element forward, 6 backward",
          .make = [](const BenchSizes& s) -> BenchCall {
            const Shape x{s["B"], s["T"], s["C"]};
            return {.inputs = {BenchInput::normal(x), BenchInput::normal({s["C"]})},
                    .run = [](std::span<const Tensor> in) { return std::vector{ema(in[0], in[1])}; },
                    .forward_operations = 3 * static_cast<double>(x.numel()),
                    .backward_operations = 6 * static_cast<double>(x.numel()),
                    .read_again = {0, 1}};
          }};
}

}  // namespace ema
