#include "ops/gate_blend/gate_blend.h"

#include <cmath>

#include "autograd/tape.h"
#include "ops/cases/cases.h"

namespace mixgrad::test {
namespace {

using enum InputRole;

// y = g u + (1 - g) z, g = 1 / (1 + e^-gate)
Tensor blended(const Tensor& gate, const Tensor& u, const Tensor& z) {
  Tensor y = Tensor::empty(gate.shape(), DType::f64);
  for (std::int64_t i = 0; i < gate.numel(); ++i) {
    const double g = 1 / (1 + std::exp(-gate.at(i)));
    y.set(i, g * u.at(i) + (1 - g) * z.at(i));
  }
  return y;
}

Tensor scaled(const Tensor& x, double factor) {
  for (std::int64_t i = 0; i < x.numel(); ++i) x.set(i, factor * x.at(i));
  return x;
}

OpCase plain(const std::string& note, const Shape& shape, double gate_scale = 1) {
  return {note,
          {scaled(random_tensor(shape, 1), gate_scale), random_tensor(shape, 2), random_tensor(shape, 3)},
          [](std::span<const Tensor> in) { return std::vector{gate_blend(in[0], in[1], in[2])}; },
          [](std::span<const Tensor> in) { return std::vector{blended(in[0], in[1], in[2])}; }};
}

}  // namespace

OpCases gate_blend_cases() {
  OpCases all;
  all.cases = {
      plain("one element", {1}),
      plain("T=1", {2, 1, 7}),
      plain("odd sizes", {2, 3, 17}),
      plain("one column", {5, 1}),
      plain("whole chunks of 16 bytes", {2, 3, 24}),
      plain("1030 rows, beyond a block", {1030, 2}),
      plain("gates that choose all or nothing", {3, 11}, 8),
      plain("gates of zero: the mean", {3, 5}, 0),
      {"gate, u and z are columns of one tensor",
       {random_tensor({2, 3, 17}, 4)},
       [](std::span<const Tensor> in) {
         return std::vector{gate_blend(columns(in[0], 1, 6), columns(in[0], 6, 11), columns(in[0], 12, 17))};
       },
       [](std::span<const Tensor> in) {
         return std::vector{blended(in[0].column_view(1, 6), in[0].column_view(6, 11), in[0].column_view(12, 17))};
       },
       {activation}},
      {"the gate is u",
       {random_tensor({3, 5}, 5), random_tensor({3, 5}, 6)},
       [](std::span<const Tensor> in) { return std::vector{gate_blend(in[0], in[0], in[1])}; },
       [](std::span<const Tensor> in) { return std::vector{blended(in[0], in[0], in[1])}; },
       {activation, activation}},
  };
  const Tensor x = random_tensor({2, 3}, 1);
  all.errors = {
      {"u has another shape",
       [=] {
         gate_blend(x, random_tensor({2, 4}, 1), x);
       },
       "gate_blend: u must be [2,3], got [2,4]"},
      {"z has another shape", [=] { gate_blend(x, x, random_tensor({6}, 1)); }, "gate_blend: z must be [2,3], got [6]"},
      {"z has another dtype", [=] { gate_blend(x, x, x.to(DType::f32)); },
       "gate_blend: z must be f64 like the first input, got f32"},
      {"u is i32",
       [=] {
         gate_blend(x, random_tokens({2, 3}, 5, 1), x);
       },
       "gate_blend: u must be f64, f32 or bf16, got i32"},
      {"the gate is missing", [=] { gate_blend(Tensor(), x, x); },
       "gate_blend: gate is required, got an undefined tensor"},
  };
  return all;
}

OpBench gate_blend_bench() {
  return {.sizes = {{"B", 8, "sequences"}, {"T", 1024, "tokens"}, {"D", 768, "channels"}},
          .counted = "4 operations an element forward, 9 backward",
          .make = [](const BenchSizes& s) -> BenchCall {
            const Shape x{s["B"], s["T"], s["D"]};
            return {.inputs = {BenchInput::normal(x), BenchInput::normal(x), BenchInput::normal(x)},
                    .run = [](std::span<const Tensor> in) { return std::vector{gate_blend(in[0], in[1], in[2])}; },
                    .forward_operations = 4 * static_cast<double>(x.numel()),
                    .backward_operations = 9 * static_cast<double>(x.numel()),
                    .read_again = {0, 1, 2}};
          }};
}

}  // namespace mixgrad::test
