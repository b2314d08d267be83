#include "ops/rope/rope.h"

#include <cmath>

#include "autograd/tape.h"
#include "ops/cases/cases.h"

namespace mixgrad::test {
namespace {

using enum InputRole;

// Pair (i, i + dh/2) of each head turns by (first_position + floor(t / rows_per_position)) theta^(-2i/dh); channels
// after the heads pass.
Tensor rotated(const Tensor& x, const RopeOptions& options) {
  const std::int64_t time = x.dim(1);
  const std::int64_t width = x.dim(2);
  const std::int64_t half = options.head_dim / 2;
  Tensor y = Tensor::empty(x.shape(), DType::f64);
  for (std::int64_t i = 0; i < x.numel(); ++i) y.set(i, x.at(i));
  for (std::int64_t row = 0; row < x.dim(0) * time; ++row) {
    const std::int64_t tokens_before = row % time / options.rows_per_position;
    const auto position = static_cast<double>(options.first_position.host + tokens_before);
    for (std::int64_t h = 0; h < options.heads; ++h) {
      for (std::int64_t i = 0; i < half; ++i) {
        const double angle =
            position * std::pow(options.theta, -2.0 * static_cast<double>(i) / static_cast<double>(options.head_dim));
        const std::int64_t low = row * width + h * options.head_dim + i;
        y.set(low, x.at(low) * std::cos(angle) - x.at(low + half) * std::sin(angle));
        y.set(low + half, x.at(low + half) * std::cos(angle) + x.at(low) * std::sin(angle));
      }
    }
  }
  return y;
}

OpCase plain(const std::string& note, const Shape& shape, const RopeOptions& options) {
  return {note,
          {random_tensor(shape, 1)},
          [=](std::span<const Tensor> in) { return std::vector{rope(in[0], options)}; },
          [=](std::span<const Tensor> in) { return std::vector{rotated(in[0], options)}; }};
}

OpCase view(const std::string& note, const Shape& packed, std::int64_t begin, std::int64_t end,
            const RopeOptions& options) {
  return {note,
          {random_tensor(packed, 2)},
          [=](std::span<const Tensor> in) { return std::vector{rope(columns(in[0], begin, end), options)}; },
          [=](std::span<const Tensor> in) { return std::vector{rotated(in[0].column_view(begin, end), options)}; },
          {activation}};
}

// No state: a piece says at which position it begins.
CachedCase in_pieces(const std::string& note, const RopeOptions& options) {
  return {.note = note,
          .inputs =
              [=](std::int64_t tokens) {
                return std::vector{random_tensor({2, tokens * options.rows_per_position, 9}, 7)};
              },
          .sequences = {0},
          .whole = [=](std::span<const Tensor> in) { return std::vector{rope(in[0], options)}; },
          .start = [=](std::span<const Tensor>, std::int64_t) -> PieceFunction {
            return [=](std::span<const Tensor> piece, std::int64_t position) {
              RopeOptions from = options;
              from.first_position = position;
              return rope(piece[0], from);
            };
          }};
}

}  // namespace

OpCases rope_cases() {
  OpCases all;
  // The order matters to an implementation that keeps tables: short and long, one theta and another, in turn.
  all.cases = {
      plain("the smallest head, T=1 at position 0", {1, 1, 2}, {.heads = 1, .head_dim = 2}),
      plain("T=1 at position 9", {2, 1, 8}, {.heads = 2, .head_dim = 4, .first_position = 9}),
      plain("odd half, odd T", {2, 7, 42}, {.heads = 3, .head_dim = 14}),
      plain("a table that must grow", {1, 70, 6}, {.heads = 1, .head_dim = 6}),
      plain("the same head_dim, another theta", {1, 17, 6}, {.heads = 1, .head_dim = 6, .theta = 100}),
      plain("the first theta again", {1, 5, 6}, {.heads = 1, .head_dim = 6}),
      plain("head_dim 66", {2, 3, 66}, {.heads = 1, .head_dim = 66}),
      plain("first_position 1000", {1, 9, 8}, {.heads = 2, .head_dim = 4, .first_position = 1000}),
      plain("first_position 65534, across the longest table of a CPU", {1, 9, 8},
            {.heads = 2, .head_dim = 4, .first_position = 65534}),
      plain("first_position 1000000", {1, 3, 8}, {.heads = 2, .head_dim = 4, .first_position = 1000000}),
      plain("and back, after the table has moved", {1, 3, 8}, {.heads = 2, .head_dim = 4, .first_position = 70000}),
      plain("channels after the heads pass", {2, 5, 17}, {.heads = 2, .head_dim = 6, .first_position = 3}),
      plain("heads of whole chunks, and channels after them", {2, 9, 88},
            {.heads = 2, .head_dim = 32, .first_position = 3}),
      plain("130 rows", {2, 65, 4}, {.heads = 1, .head_dim = 4}),
      plain("1100 rows, beyond a task", {2, 550, 2}, {.heads = 1, .head_dim = 2}),
      plain("3 rows a position", {2, 12, 9}, {.heads = 2, .head_dim = 4, .first_position = 5, .rows_per_position = 3}),
      plain("all rows at one position", {2, 4, 4},
            {.heads = 1, .head_dim = 4, .first_position = 7, .rows_per_position = 4}),
      view("q and k of a packed qkv", {2, 5, 36}, 0, 24, {.heads = 4, .head_dim = 6, .first_position = 2}),
      view("a view in the middle with channels that pass", {2, 7, 20}, 3, 16, {.heads = 3, .head_dim = 4}),
  };

  const Tensor x = random_tensor({2, 3, 8}, 1);
  all.errors = {
      {"head_dim is odd", [=] { rope(x, {.heads = 1, .head_dim = 3}); },
       "rope: head_dim must be even and at least 2, got 3"},
      {"too few channels", [=] { rope(x, {.heads = 3, .head_dim = 4}); },
       "rope: 3 heads of width 4 must fit into the last axis of x, got x [2,3,8]"},
      {"no batch axis",
       [=] {
         rope(random_tensor({3, 8}, 1), {.heads = 2, .head_dim = 4});
       },
       "rope: x must be [B,T,W] (3 axes), got [3,8]"},
      {"first_position below 0", [=] { rope(x, {.heads = 2, .head_dim = 4, .first_position = -1}); },
       "rope: first_position must be at least 0, got -1"},
      {"rows that are not whole positions", [=] { rope(x, {.heads = 2, .head_dim = 4, .rows_per_position = 2}); },
       "rope: the rows of x must be a multiple of rows_per_position, which is at least 1, got x [2,3,8] and 2"},
      {"0 rows a position", [=] { rope(x, {.heads = 2, .head_dim = 4, .rows_per_position = 0}); },
       "rope: the rows of x must be a multiple of rows_per_position, which is at least 1, got x [2,3,8] and 0"},
      {"no heads", [=] { rope(x, {.heads = 0, .head_dim = 4}); }, "rope: heads must be at least 1, got 0"},
      {"theta 0", [=] { rope(x, {.heads = 1, .head_dim = 4, .theta = 0}); }, "rope: theta must be above 0, got 0"},
      {"i32",
       [=] {
         rope(random_tokens({2, 3, 8}, 5, 1), {.heads = 2, .head_dim = 4});
       },
       "rope: x must be f64, f32 or bf16, got i32"},
  };
  all.cached = {in_pieces("two heads of width 4", {.heads = 2, .head_dim = 4}),
                in_pieces("a small theta", {.heads = 1, .head_dim = 6, .theta = 50})};
  return all;
}

OpBench rope_bench() {
  return {
      .sizes = {{"B", 8, "sequences"}, {"T", 1024, "tokens"}, {"H", 12, "heads"}, {"D", 64, "channels of a head", 2}},
      .counted = "3 operations an element forward, 3 backward",
      .make = [](const BenchSizes& s) -> BenchCall {
        const std::int64_t heads = s["H"];
        const std::int64_t width = s["D"];
        const Shape x{s["B"], s["T"], heads * width};
        return {.inputs = {BenchInput::normal(x)},
                .run =
                    [=](std::span<const Tensor> in) {
                      return std::vector{rope(in[0], {.heads = heads, .head_dim = width})};
                    },
                .forward_operations = 3 * static_cast<double>(x.numel()),
                .backward_operations = 3 * static_cast<double>(x.numel())};
      }};
}

}  // namespace mixgrad::test
