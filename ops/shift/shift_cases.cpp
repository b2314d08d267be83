#include "ops/shift/shift.h"

#include <cmath>

#include "autograd/tape.h"
#include "ops/cases/cases.h"

namespace mixgrad::test {
namespace {

using enum InputRole;

using Shifts = std::vector<std::int64_t>;

// z[b,t,c] = x[b,t-s,c]; before the start 0 or x[b,t,c]
Tensor shifted(const Tensor& x, const Shifts& shifts, Boundary boundary) {
  const std::int64_t time = x.dim(1);
  const std::int64_t width = x.dim(2);
  const std::int64_t head_width = width / static_cast<std::int64_t>(shifts.size());
  Tensor z = Tensor::empty(x.shape(), DType::f64);
  for (std::int64_t row = 0; row < x.dim(0) * time; ++row) {
    for (std::int64_t c = 0; c < width; ++c) {
      const std::int64_t s = shifts[static_cast<std::size_t>(c / head_width)];
      double before = boundary == Boundary::self ? x.at(row * width + c) : 0;
      if (row % time >= s) before = x.at((row - s) * width + c);
      z.set(row * width + c, before);
    }
  }
  return z;
}

OpCase plain(const std::string& note, const Shape& shape, const Shifts& shifts, Boundary boundary) {
  return {
      note,
      {random_tensor(shape, 1)},
      [=](std::span<const Tensor> in) { return std::vector{shift(in[0], {.shifts = shifts, .boundary = boundary})}; },
      [=](std::span<const Tensor> in) { return std::vector{shifted(in[0], shifts, boundary)}; }};
}

// A ring full of NaN: nothing may be read before it was written.
Tensor unwritten_ring(const Tensor& x, const Shifts& shifts) {
  return Tensor::full({x.dim(0), ring_elements(x.dim(2), shifts)}, x.dtype(), std::nan(""), x.device());
}

CachedCase in_pieces(const std::string& note, const Shifts& shifts, Boundary boundary) {
  return {.note = note,
          .inputs =
              [](std::int64_t tokens) {
                return std::vector{random_tensor({2, tokens, 6}, 7)};
              },
          .sequences = {0},
          .whole =
              [=](std::span<const Tensor> in) {
                return std::vector{shift(in[0], {.shifts = shifts, .boundary = boundary})};
              },
          .start = [=](std::span<const Tensor> in, std::int64_t) -> PieceFunction {
            const Tensor ring = unwritten_ring(in[0], shifts);
            return [=](std::span<const Tensor> piece, std::int64_t position) {
              return shift_cached(piece[0], ring, position, {.shifts = shifts, .boundary = boundary});
            };
          }};
}

}  // namespace

OpCases shift_cases() {
  using enum Boundary;
  OpCases all;
  all.cases = {
      plain("one element: T=1, shift 1, zero", {1, 1, 1}, {1}, zero),
      plain("one element: T=1, shift 1, self", {1, 1, 1}, {1}, self),
      plain("T=1, several heads, self", {3, 1, 6}, {1, 2, 5}, self),
      plain("shift 1, zero", {2, 7, 5}, {1}, zero),
      plain("shift 1, self", {2, 7, 5}, {1}, self),
      plain("shift T-1, zero", {2, 7, 3}, {6}, zero),
      plain("shift T-1, self", {2, 7, 3}, {6}, self),
      plain("shift T, zero: nothing is left", {2, 7, 3}, {7}, zero),
      plain("shift T, self: all of it stays", {2, 7, 3}, {7}, self),
      plain("shift T+1, self", {2, 7, 3}, {8}, self),
      plain("shifts beyond 2^31", {2, 3, 4}, {std::int64_t{1} << 31, std::int64_t{1} << 40}, self),
      plain("another shift in each head, zero", {2, 9, 12}, {1, 3, 8, 9}, zero),
      plain("another shift in each head, self", {2, 9, 12}, {2, 1, 10, 4}, self),
      plain("H = D", {2, 6, 5}, {1, 2, 3, 4, 5}, self),
      plain("self, 2 s > T: some tokens keep both terms", {2, 9, 4}, {4, 6}, self),
      plain("3 x 70 rows, the batch must not leak", {3, 70, 4}, {65}, self),
      plain("2100 steps, beyond a block of rows", {1, 2100, 2}, {700}, self),
      plain("heads of 8 channels, zero", {2, 9, 24}, {1, 4, 10}, zero),
      plain("heads of 8 channels, self", {2, 9, 24}, {1, 7, 10}, self),
      {"x is a column view",
       {random_tensor({2, 9, 17}, 4)},
       [](std::span<const Tensor> in) {
         const Shifts shifts{2, 1};
         return std::vector{shift(columns(in[0], 4, 10), {.shifts = shifts, .boundary = self})};
       },
       [](std::span<const Tensor> in) {
         return std::vector{shifted(in[0].column_view(4, 10), {2, 1}, self)};
       },
       {activation}},
      {"shifted twice",
       {random_tensor({2, 9, 6}, 5)},
       [](std::span<const Tensor> in) {
         const Shifts shifts{3};
         return std::vector{shift(shift(in[0], {.shifts = shifts}), {.shifts = shifts})};
       },
       [](std::span<const Tensor> in) { return std::vector{shifted(in[0], {6}, zero)}; },
       {activation}},
  };

  const Tensor x = random_tensor({2, 3, 6}, 1);
  const auto call = [](const Tensor& input, const Shifts& shifts) { shift(input, {.shifts = shifts}); };
  all.errors = {
      {"D is no multiple of H",
       [=] {
         call(x, {1, 1, 1, 1});
       },
       "shift: the last axis of x must be a multiple of the 4 heads (one shift each), got x [2,3,6]"},
      {"shift 0",
       [=] {
         call(x, {1, 0});
       },
       "shift: shifts must be at least 1, got 0 for head 1"},
      {"shift below 0",
       [=] {
         call(x, {-3, 1});
       },
       "shift: shifts must be at least 1, got -3 for head 0"},
      {"no shifts", [=] { call(x, {}); }, "shift: at least one head (one shift each) is required, got no shifts"},
      {"no batch axis",
       [=] {
         call(random_tensor({3, 6}, 1), {1, 1});
       },
       "shift: x must be [B,T,D] (3 axes), got [3,6]"},
      {"i32",
       [=] {
         call(random_tokens({2, 3, 6}, 5, 1), {1, 1});
       },
       "shift: x must be f64, f32 or bf16, got i32"},
  };
  all.cached = {in_pieces("shift 1, zero", {1}, zero), in_pieces("shifts 4, 2 and 11, self", {4, 2, 11}, self),
                in_pieces("shifts 12, 1000 and 5, zero", {12, 1000, 5}, zero)};
  return all;
}

OpBench shift_bench() {
  return {.sizes = {{"B", 8, "sequences"},
                    {"T", 1024, "tokens"},
                    {"D", 768, "channels"},
                    {"H", 8, "heads"},
                    {"S", 1, "tokens by which each head is shifted"}},
          .counted = "no operations: a copy each way",
          .make = [](const BenchSizes& s) -> BenchCall {
            const Shifts shifts(static_cast<std::size_t>(s["H"]), s["S"]);
            return {.inputs = {BenchInput::normal({s["B"], s["T"], s["D"]})},
                    .run = [=](std::span<const Tensor> in) { return std::vector{shift(in[0], {.shifts = shifts})}; }};
          }};
}

}  // namespace mixgrad::test
