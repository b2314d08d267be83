#include "ops/shift_mix/shift_mix.h"

#include <cmath>

#include "autograd/tape.h"
#include "ops/cases/cases.h"
#include "ops/shift_mix/shift_mix_blocks.h"

namespace mixgrad::test {
namespace {

using enum InputRole;

using Shifts = std::vector<std::int64_t>;

// y[b,t,c] = a x[b,t,c] + b z[b,t,c], z[b,t,c] = x[b,t-s,c]; before the start 0 or x[b,t,c]
Tensor mixed(const Tensor& x, const Tensor& a, const Tensor& b, const Shifts& shifts, Boundary boundary) {
  const std::int64_t time = x.dim(1);
  const std::int64_t width = x.dim(2);
  const std::int64_t head_width = width / static_cast<std::int64_t>(shifts.size());
  Tensor y = Tensor::empty(x.shape(), DType::f64);
  for (std::int64_t row = 0; row < x.dim(0) * time; ++row) {
    const std::int64_t t = row % time;
    for (std::int64_t c = 0; c < width; ++c) {
      const std::int64_t head = c / head_width;
      const std::int64_t s = shifts[static_cast<std::size_t>(head)];
      const double now = x.at(row * width + c);
      double before = boundary == Boundary::self ? now : 0;
      if (t >= s) before = x.at((row - s) * width + c);
      const double a_here = a.at(a.numel() == width ? c : head);
      const double b_here = b.at(b.numel() == width ? c : head);
      y.set(row * width + c, a_here * now + b_here * before);
    }
  }
  return y;
}

enum class Form { scalar, vector };

OpCase plain(const std::string& note, const Shape& shape, const Shifts& shifts, Form form, Boundary boundary) {
  const std::int64_t size = form == Form::vector ? shape[2] : static_cast<std::int64_t>(shifts.size());
  return {note,
          {random_tensor(shape, 1), random_tensor({size}, 2), random_tensor({size}, 3)},
          [=](std::span<const Tensor> in) {
            return std::vector{shift_mix(in[0], in[1], in[2], {.shifts = shifts, .boundary = boundary})};
          },
          [=](std::span<const Tensor> in) { return std::vector{mixed(in[0], in[1], in[2], shifts, boundary)}; }};
}

// x is the columns [begin,end) of a packed tensor.
OpCase view(const std::string& note, const Shape& packed, std::int64_t begin, std::int64_t end, const Shifts& shifts,
            Boundary boundary) {
  const auto size = static_cast<std::int64_t>(shifts.size());
  return {note,
          {random_tensor(packed, 4), random_tensor({size}, 5), random_tensor({size}, 6)},
          [=](std::span<const Tensor> in) {
            const Tensor x = columns(in[0], begin, end);
            return std::vector{shift_mix(x, in[1], in[2], {.shifts = shifts, .boundary = boundary})};
          },
          [=](std::span<const Tensor> in) {
            return std::vector{mixed(in[0].column_view(begin, end), in[1], in[2], shifts, boundary)};
          },
          {activation, parameter, parameter}};
}

// A ring full of NaN: nothing may be read before it was written.
Tensor unwritten_ring(const Tensor& x, const Shifts& shifts) {
  return Tensor::full({x.dim(0), ring_elements(x.dim(2), shifts)}, x.dtype(), std::nan(""), x.device());
}

CachedCase in_pieces(const std::string& note, const Shifts& shifts, Form form, Boundary boundary) {
  const std::int64_t size = form == Form::vector ? 6 : static_cast<std::int64_t>(shifts.size());
  return {
      .note = note,
      .inputs =
          [=](std::int64_t tokens) {
            return std::vector{random_tensor({2, tokens, 6}, 7), random_tensor({size}, 8), random_tensor({size}, 9)};
          },
      .sequences = {0},
      .whole =
          [=](std::span<const Tensor> in) {
            return std::vector{shift_mix(in[0], in[1], in[2], {.shifts = shifts, .boundary = boundary})};
          },
      .start = [=](std::span<const Tensor> in, std::int64_t) -> PieceFunction {
        const Tensor ring = unwritten_ring(in[0], shifts);
        return [=](std::span<const Tensor> p, std::int64_t position) {
          return shift_mix_cached(p[0], p[1], p[2], ring, position, {.shifts = shifts, .boundary = boundary});
        };
      }};
}

}  // namespace

OpCases shift_mix_cases() {
  using enum Form;
  using enum Boundary;
  OpCases all;
  all.cases = {
      plain("one element: T=1, shift 1, zero", {1, 1, 1}, {1}, scalar, zero),
      plain("one element: T=1, shift 1, self", {1, 1, 1}, {1}, scalar, self),
      plain("T=1, several heads", {3, 1, 6}, {1, 2, 5}, vector, self),
      plain("shift 1, zero, scalar", {2, 7, 5}, {1}, scalar, zero),
      plain("shift 1, self, vector", {2, 7, 5}, {1}, vector, self),
      plain("shift T-1", {2, 7, 3}, {6}, scalar, zero),
      plain("shift T-1, self", {2, 7, 3}, {6}, vector, self),
      plain("shift T, zero", {2, 7, 3}, {7}, scalar, zero),
      plain("shift T, self", {2, 7, 3}, {7}, scalar, self),
      plain("shift T+1", {2, 7, 3}, {8}, vector, self),
      plain("shift 1000, zero", {2, 5, 4}, {1000, 1000}, scalar, zero),
      plain("shift 1000, self", {2, 5, 4}, {1000, 1000}, vector, self),
      plain("another shift in each head, zero, scalar", {2, 9, 12}, {1, 3, 8, 9}, scalar, zero),
      plain("another shift in each head, self, scalar", {2, 9, 12}, {1, 3, 8, 9}, scalar, self),
      plain("another shift in each head, zero, vector", {2, 9, 12}, {2, 1, 10, 4}, vector, zero),
      plain("another shift in each head, self, vector", {2, 9, 12}, {2, 1, 10, 4}, vector, self),
      plain("H = D: both forms are the same", {2, 6, 5}, {1, 2, 3, 4, 5}, scalar, self),
      plain("130 steps, beyond a block of rows", {1, 130, 6}, {1, 64}, scalar, zero),
      plain("130 steps, self, shift across blocks", {1, 130, 6}, {33, 129}, vector, self),
      plain("3 x 70 rows, the batch must not leak", {3, 70, 4}, {65}, scalar, self),
      plain("D=96", {2, 5, 96}, {1, 2, 3}, vector, zero),
      plain("D=65, heads of 13", {2, 5, 65}, {1, 2, 3, 4, 5}, scalar, self),
      plain("2100 steps", {1, 2100, 2}, {700}, scalar, self),
      plain("heads of 8 channels, zero, scalar", {2, 70, 24}, {1, 64, 80}, scalar, zero),
      plain("heads of 8 channels, self, vector", {3, 33, 16}, {31, 2}, vector, self),
      plain("heads of 136 channels, self, scalar", {1, 40, 272}, {3, 35}, scalar, self),
      view("x is a column view of whole chunks", {2, 40, 48}, 16, 32, {2, 33}, self),
      view("x is a column view", {2, 9, 17}, 4, 10, {2, 1}, zero),
      view("x is a column view, self", {2, 70, 8}, 2, 5, {33}, self),
      {"a and b are the same tensor",
       {random_tensor({2, 5, 6}, 1), random_tensor({6}, 2)},
       [](std::span<const Tensor> in) {
         const Shifts shifts{1, 2};
         return std::vector{shift_mix(in[0], in[1], in[1], {.shifts = shifts, .boundary = zero})};
       },
       [](std::span<const Tensor> in) {
         return std::vector{mixed(in[0], in[1], in[1], {1, 2}, zero)};
       },
       {activation, parameter}},
  };

  const Tensor x = random_tensor({2, 3, 6}, 1);
  const auto of = [](std::int64_t size) { return random_tensor({size}, 2); };
  const auto call = [](const Tensor& input, const Tensor& a, const Tensor& b, const Shifts& shifts) {
    shift_mix(input, a, b, {.shifts = shifts});
  };
  all.errors = {
      {"D is no multiple of H",
       [=] {
         call(x, of(4), of(4), {1, 1, 1, 1});
       },
       "shift_mix: the last axis of x must be a multiple of the 4 heads (one shift each), got x [2,3,6]"},
      {"a is neither [H] nor [D]",
       [=] {
         call(x, of(3), of(3), {1, 1});
       },
       "shift_mix: a and b must both be [2] (one per head) or [6] (one per channel) to match x [2,3,6], got a [3], b "
       "[3]"},
      {"b is not like a",
       [=] {
         call(x, of(2), of(6), {1, 1});
       },
       "shift_mix: a and b must both be [2] (one per head) or [6] (one per channel) to match x [2,3,6], got a [2], b "
       "[6]"},
      {"a has two axes",
       [=] {
         call(x, random_tensor({2, 3}, 1), random_tensor({2, 3}, 1), {1, 1});
       },
       "shift_mix: a and b must both be [2] (one per head) or [6] (one per channel) to match x [2,3,6], got a [2,3], b "
       "[2,3]"},
      {"shift 0",
       [=] {
         call(x, of(2), of(2), {1, 0});
       },
       "shift_mix: shifts must be at least 1, got 0 for head 1"},
      {"shift below 0",
       [=] {
         call(x, of(2), of(2), {-3, 1});
       },
       "shift_mix: shifts must be at least 1, got -3 for head 0"},
      {"no shifts", [=] { call(x, of(6), of(6), {}); },
       "shift_mix: at least one head (one shift each) is required, got no shifts"},
      {"no batch axis",
       [=] {
         call(random_tensor({3, 6}, 1), of(2), of(2), {1, 1});
       },
       "shift_mix: x must be [B,T,D] (3 axes), got [3,6]"},
      {"b of another dtype",
       [=] {
         call(x, of(2), of(2).to(DType::f32), {1, 1});
       },
       "shift_mix: b must be f64 like the first input, got f32"},
      {"i32",
       [=] {
         call(random_tokens({2, 3, 6}, 5, 1), of(2), of(2), {1, 1});
       },
       "shift_mix: x must be f64, f32 or bf16, got i32"},
  };
  all.cached = {in_pieces("shift 1, scalar, zero", {1}, scalar, zero),
                in_pieces("shifts 4, 2 and 11, vector, self", {4, 2, 11}, vector, self),
                in_pieces("shifts 12, 1000 and 5, scalar, self", {12, 1000, 5}, scalar, self)};
  all.block_sizes = kShiftMixBlocks;
  all.with_size = [](std::string_view axis, std::int64_t size) {
    if (axis == "tokens") return plain("", {1, size, 16}, {1, 20}, scalar, self);
    if (axis == "channels") return plain("", {2, 5, size}, {2}, vector, zero);
    raise_unknown_axis(axis);
  };
  return all;
}

OpBench shift_mix_bench() {
  return {.sizes = {{"B", 8, "sequences"},
                    {"T", 1024, "tokens"},
                    {"D", 768, "channels"},
                    {"H", 8, "heads, each with one a and b"},
                    {"S", 1, "tokens by which each head is shifted"}},
          .counted = "3 operations an element forward, 7 backward",
          .make = [](const BenchSizes& s) -> BenchCall {
            const Shape x{s["B"], s["T"], s["D"]};
            const Shifts shifts(static_cast<std::size_t>(s["H"]), s["S"]);
            return {.inputs = {BenchInput::normal(x), BenchInput::normal({s["H"]}), BenchInput::normal({s["H"]})},
                    .run =
                        [=](std::span<const Tensor> in) {
                          return std::vector{shift_mix(in[0], in[1], in[2], {.shifts = shifts})};
                        },
                    .forward_operations = 3 * static_cast<double>(x.numel()),
                    .backward_operations = 7 * static_cast<double>(x.numel()),
                    .read_again = {0, 1, 2}};
          }};
}

}  // namespace mixgrad::test
