#include "ops/elementwise/elementwise.h"

#include <cmath>
#include <functional>
#include <numbers>

#include "autograd/tape.h"
#include "ops/cases/cases.h"

namespace mixgrad::test {
namespace {

using enum InputRole;

double gelu_formula(double x) {
  return x / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}
double gelu_erf_formula(double x) { return x / 2 * std::erfc(-x / std::numbers::sqrt2); }
double relu_formula(double x) { return x > 0 ? x : 0; }
double silu_formula(double x) { return x / (1 + std::exp(-x)); }
double swiglu_formula(double gate, double up) { return silu_formula(gate) * up; }
double add_formula(double a, double b) { return a + b; }

Tensor mapped(const Tensor& x, double (*f)(double)) {
  Tensor y = Tensor::empty(x.shape(), DType::f64);
  for (std::int64_t i = 0; i < x.numel(); ++i) y.set(i, f(x.at(i)));
  return y;
}

Tensor mapped(const Tensor& a, const Tensor& b, double (*f)(double, double)) {
  Tensor y = Tensor::empty(a.shape(), DType::f64);
  for (std::int64_t i = 0; i < a.numel(); ++i) y.set(i, f(a.at(i), b.at(i)));
  return y;
}

Tensor scaled(const Tensor& x, double factor) {
  for (std::int64_t i = 0; i < x.numel(); ++i) x.set(i, x.at(i) * factor);
  return x;
}

using Unary = Tensor (*)(const Tensor&);
using Binary = Tensor (*)(const Tensor&, const Tensor&);

// make: random inputs; for relu they stay away from zero, where it has no derivative.
OpCases unary_cases(const std::string& name, Unary op, double (*f)(double),
                    Tensor (*make)(const Shape&, std::uint64_t)) {
  OpCases all;
  const auto plain = [=](const std::string& note, const Tensor& x) {
    return OpCase{note,
                  {x},
                  [=](std::span<const Tensor> in) { return std::vector{op(in[0])}; },
                  [=](std::span<const Tensor> in) { return std::vector{mapped(in[0], f)}; }};
  };
  const auto view = [=](const std::string& note, const Shape& packed, std::int64_t begin, std::int64_t end) {
    return OpCase{note,
                  {make(packed, 8)},
                  [=](std::span<const Tensor> in) { return std::vector{op(columns(in[0], begin, end))}; },
                  [=](std::span<const Tensor> in) { return std::vector{mapped(in[0].column_view(begin, end), f)}; },
                  {activation}};
  };
  all.cases = {
      plain("one element", make({1}, 1)),
      plain("a scalar", make({}, 2)),
      plain("a row", make({7}, 3)),
      plain("size-1 axes", make({1, 17, 1}, 4)),
      plain("odd sizes", make({2, 3, 33}, 5)),
      plain("whole chunks of 16 bytes", make({3, 2, 16}, 9)),
      plain("130 rows", make({130, 7}, 6)),
      plain("1100 rows, beyond a task", make({1100, 2}, 9)),
      plain("inputs far from zero: the ends of the function", scaled(make({5, 13}, 7), 8)),
      view("columns in the middle", {3, 5, 20}, 3, 14),
      view("the last column", {17, 5}, 4, 5),
      view("65 columns", {2, 130}, 65, 130),
  };
  all.errors = {
      {"i32", [=] { op(random_tokens({3}, 5, 1)); }, name + ": x must be f64, f32 or bf16, got i32"},
      {"missing", [=] { op(Tensor()); }, name + ": x is required, got an undefined tensor"},
  };
  return all;
}

OpCases binary_cases(const std::string& name, const std::string& first, const std::string& second, Binary op,
                     double (*f)(double, double)) {
  OpCases all;
  const auto plain = [=](const std::string& note, const Shape& shape) {
    return OpCase{note,
                  {random_tensor(shape, 1), random_tensor(shape, 2)},
                  [=](std::span<const Tensor> in) { return std::vector{op(in[0], in[1])}; },
                  [=](std::span<const Tensor> in) { return std::vector{mapped(in[0], in[1], f)}; }};
  };
  // Both are views of one tensor, `width` columns from `a` and from `b` on.
  const auto packed = [=](const std::string& note, const Shape& shape, std::int64_t a, std::int64_t b,
                          std::int64_t width) {
    return OpCase{note,
                  {random_tensor(shape, 3)},
                  [=](std::span<const Tensor> in) {
                    return std::vector{op(columns(in[0], a, a + width), columns(in[0], b, b + width))};
                  },
                  [=](std::span<const Tensor> in) {
                    return std::vector{mapped(in[0].column_view(a, a + width), in[0].column_view(b, b + width), f)};
                  },
                  {activation}};
  };
  all.cases = {
      plain("one element", {1}),
      plain("a scalar", {}),
      plain("T=1", {2, 1, 7}),
      plain("size-1 axes", {1, 17, 1}),
      plain("odd sizes", {2, 3, 33}),
      plain("130 rows", {130, 7}),
      plain("1100 rows, beyond a task", {1100, 2}),
      packed("the halves of one tensor", {2, 3, 34}, 0, 17, 17),
      packed("the second half first", {3, 14}, 7, 0, 7),
      packed("overlapping views", {4, 11}, 1, 4, 6),
      packed("twice the same view", {4, 11}, 2, 2, 6),
      packed("65 columns, unused ones between", {2, 150}, 0, 80, 65),
      {"a view and a whole tensor",
       {random_tensor({2, 3, 9}, 4), random_tensor({2, 3, 5}, 5)},
       [=](std::span<const Tensor> in) { return std::vector{op(columns(in[0], 2, 7), in[1])}; },
       [=](std::span<const Tensor> in) { return std::vector{mapped(in[0].column_view(2, 7), in[1], f)}; },
       {activation, activation}},
      {"a whole tensor and a view",
       {random_tensor({2, 3, 5}, 5), random_tensor({2, 3, 9}, 4)},
       [=](std::span<const Tensor> in) { return std::vector{op(in[0], columns(in[1], 2, 7))}; },
       [=](std::span<const Tensor> in) { return std::vector{mapped(in[0], in[1].column_view(2, 7), f)}; },
       {activation, activation}},
      {"both are the same tensor",
       {random_tensor({3, 7}, 6)},
       [=](std::span<const Tensor> in) { return std::vector{op(in[0], in[0])}; },
       [=](std::span<const Tensor> in) { return std::vector{mapped(in[0], in[0], f)}; },
       {activation}},
  };
  const Tensor x = random_tensor({2, 3}, 1);
  all.errors = {
      {"shapes differ",
       [=] {
         op(x, random_tensor({3, 2}, 1));
       },
       name + ": " + second + " must be [2,3], got [3,2]"},
      {"as many elements, other axes", [=] { op(x, random_tensor({6}, 1)); },
       name + ": " + second + " must be [2,3], got [6]"},
      {"dtypes differ", [=] { op(x, x.to(DType::f32)); },
       name + ": " + second + " must be f64 like the first input, got f32"},
      {"i32", [=] { op(random_tokens({3}, 5, 1), x); }, name + ": " + first + " must be f64, f32 or bf16, got i32"},
      {"missing", [=] { op(x, Tensor()); }, name + ": " + second + " is required, got an undefined tensor"},
  };
  return all;
}

}  // namespace

OpCases gelu_cases() { return unary_cases("gelu", gelu, gelu_formula, random_tensor); }
OpCases gelu_erf_cases() { return unary_cases("gelu_erf", gelu_erf, gelu_erf_formula, random_tensor); }
OpCases relu_cases() { return unary_cases("relu", relu, relu_formula, random_away_from_zero); }
OpCases silu_cases() { return unary_cases("silu", silu, silu_formula, random_tensor); }
OpCases swiglu_cases() { return binary_cases("swiglu", "gate", "up", swiglu, swiglu_formula); }
OpCases add_cases() { return binary_cases("add", "a", "b", add, add_formula); }

namespace {

OpBench unary_bench(Unary op) {
  return {.sizes = {{"B", 8, "sequences"}, {"T", 1024, "tokens"}, {"D", 768, "channels"}},
          .counted = "1 operation an element forward, 2 backward",
          .make = [op](const BenchSizes& s) -> BenchCall {
            const Shape x{s["B"], s["T"], s["D"]};
            return {.inputs = {BenchInput::normal(x)},
                    .run = [op](std::span<const Tensor> in) { return std::vector{op(in[0])}; },
                    .forward_operations = static_cast<double>(x.numel()),
                    .backward_operations = 2 * static_cast<double>(x.numel()),
                    .read_again = {0}};
          }};
}

}  // namespace

OpBench gelu_bench() { return unary_bench(gelu); }
OpBench gelu_erf_bench() { return unary_bench(gelu_erf); }
OpBench relu_bench() { return unary_bench(relu); }
OpBench silu_bench() { return unary_bench(silu); }

OpBench swiglu_bench() {
  return {.sizes = {{"B", 8, "sequences"}, {"T", 1024, "tokens"}, {"D", 768, "channels"}},
          .counted = "2 operations an element forward, 5 backward; gate and up are the halves of one tensor",
          .make = [](const BenchSizes& s) -> BenchCall {
            const Shape x{s["B"], s["T"], s["D"]};
            const BenchInput half = BenchInput::normal(x).in_rows_of(2 * s["D"]);
            return {.inputs = {half, half},
                    .run = [](std::span<const Tensor> in) { return std::vector{swiglu(in[0], in[1])}; },
                    .forward_operations = 2 * static_cast<double>(x.numel()),
                    .backward_operations = 5 * static_cast<double>(x.numel()),
                    .read_again = {0, 1}};
          }};
}

OpBench add_bench() {
  return {.sizes = {{"B", 8, "sequences"}, {"T", 1024, "tokens"}, {"D", 768, "channels"}},
          .counted = "1 operation an element forward, none backward: both gradients are that of y",
          .make = [](const BenchSizes& s) -> BenchCall {
            const Shape x{s["B"], s["T"], s["D"]};
            return {.inputs = {BenchInput::normal(x), BenchInput::normal(x)},
                    .run = [](std::span<const Tensor> in) { return std::vector{add(in[0], in[1])}; },
                    .forward_operations = static_cast<double>(x.numel()),
                    .backward_is_view = true};
          }};
}

}  // namespace mixgrad::test
