#include "ops/head_linear/head_linear.h"

#include "autograd/tape.h"
#include "core/error.h"
#include "ops/cases/cases.h"

namespace mixgrad::test {
namespace {

using enum InputRole;

// y[r,h,o] = sum_i x[r,h,i] weight[h,o,i] + bias[h,o]
Tensor affine(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const std::int64_t heads = weight.dim(0);
  const std::int64_t n_out = weight.dim(1);
  const std::int64_t n_in = weight.dim(2);
  Tensor y = Tensor::empty(x.shape().with_last(heads * n_out), DType::f64);
  for (std::int64_t r = 0; r < x.rows(); ++r) {
    for (std::int64_t h = 0; h < heads; ++h) {
      for (std::int64_t o = 0; o < n_out; ++o) {
        double sum = bias.defined() ? bias.at(h * n_out + o) : 0;
        for (std::int64_t i = 0; i < n_in; ++i) {
          sum += x.at((r * heads + h) * n_in + i) * weight.at((h * n_out + o) * n_in + i);
        }
        y.set((r * heads + h) * n_out + o, sum);
      }
    }
  }
  return y;
}

Tensor sum(const Tensor& a, const Tensor& b) {
  Tensor y = Tensor::empty(a.shape(), DType::f64);
  for (std::int64_t i = 0; i < a.numel(); ++i) y.set(i, a.at(i) + b.at(i));
  return y;
}

enum class BiasForm { none, of_heads, flat };

struct Sizes {
  std::int64_t heads, in, out;
  BiasForm bias;
};

Tensor bias_of(const Sizes& s) {
  if (s.bias == BiasForm::none) return {};
  return s.bias == BiasForm::flat ? random_tensor({s.heads * s.out}, 3) : random_tensor({s.heads, s.out}, 3);
}

OpCase one_input(const std::string& note, const Shape& rows, const Sizes& s) {
  return {note,
          {random_tensor(rows.with_last(s.heads * s.in), 1), random_tensor({s.heads, s.out, s.in}, 2), bias_of(s)},
          [](std::span<const Tensor> in) { return std::vector{head_linear(in[0], in[1], in[2])}; },
          [](std::span<const Tensor> in) { return std::vector{affine(in[0], in[1], in[2])}; },
          {activation, parameter, parameter}};
}

// x [B,T,H,I], each head a row; `columns_of` > I: a column view of rows that are longer.
OpCase split_input(const std::string& note, const Shape& rows, const Sizes& s, std::int64_t columns_of) {
  const std::int64_t n_in = s.in;
  const Shape flat{rows[0], rows[1], s.heads * s.in};
  const Shape out{rows[0], rows[1], s.heads, s.out};
  return {
      note,
      {random_tensor({rows[0], rows[1], s.heads, columns_of}, 1), random_tensor({s.heads, s.out, s.in}, 2), bias_of(s)},
      [=](std::span<const Tensor> in) {
        const Tensor x = columns_of > n_in ? columns(in[0], 1, n_in + 1) : in[0];
        return std::vector{head_linear(x, in[1], in[2])};
      },
      [=](std::span<const Tensor> in) {
        const Tensor x = columns_of > n_in ? in[0].column_view(1, n_in + 1).clone() : in[0].clone();
        return std::vector{affine(x.reshape(flat), in[1], in[2]).reshape(out)};
      },
      {activation, parameter, parameter}};
}

OpCase two_inputs(const std::string& note, const Shape& rows, const Sizes& s) {
  const Shape x = rows.with_last(s.heads * s.in);
  const Shape weight{s.heads, s.out, s.in};
  return {note,
          {random_tensor(x, 1), random_tensor(weight, 2), random_tensor(x, 4), random_tensor(weight, 5), bias_of(s)},
          [](std::span<const Tensor> in) { return std::vector{head_linear(in[0], in[1], in[2], in[3], in[4])}; },
          [](std::span<const Tensor> in) {
            return std::vector{sum(affine(in[0], in[1], in[4]), affine(in[2], in[3], {}))};
          }};
}

// Both weights are the halves of one [H,O,2I]; x and z are columns of one packed tensor.
OpCase halves(const std::string& note, const Shape& rows, const Sizes& s) {
  const std::int64_t width = s.heads * s.in;
  const std::int64_t n_in = s.in;
  return {note,
          {random_tensor(rows.with_last(2 * width + 1), 1), random_tensor({s.heads, s.out, 2 * s.in}, 2), bias_of(s)},
          [=](std::span<const Tensor> in) {
            return std::vector{head_linear(columns(in[0], 1, width + 1), columns(in[1], 0, n_in),
                                           columns(in[0], width + 1, 2 * width + 1), columns(in[1], n_in, 2 * n_in),
                                           in[2])};
          },
          [=](std::span<const Tensor> in) {
            return std::vector{
                sum(affine(in[0].column_view(1, width + 1), in[1].column_view(0, n_in), in[2]),
                    affine(in[0].column_view(width + 1, 2 * width + 1), in[1].column_view(n_in, 2 * n_in), {}))};
          },
          {activation, parameter, parameter}};
}

std::vector<ErrorCase> error_cases() {
  const Tensor x = random_tensor({2, 3, 8}, 1);
  const Tensor weight = random_tensor({2, 5, 4}, 2);
  return {
      {"the width does not match",
       [=] {
         head_linear(random_tensor({2, 3, 4}, 1), weight);
       },
       "head_linear: the last axis of x must be 8 (2 heads of width 4) to match weight [2,5,4], got x [2,3,4]"},
      {"weight without heads",
       [=] {
         head_linear(x, random_tensor({5, 8}, 1));
       },
       "head_linear: weight must be [H,O,I] (3 axes), got [5,8]"},
      {"bias of another size", [=] { head_linear(x, weight, random_tensor({5}, 1)); },
       "head_linear: bias must be [2,5] or [10], got [5]"},
      {"bias is a row view",
       [=] {
         head_linear(x, weight, random_tensor({2, 6}, 1).column_view(0, 5));
       },
       "head_linear: bias must be contiguous, got a row view [2,5]; clone() it first"},
      {"z without its weight", [=] { head_linear(x, weight, x, {}, {}); },
       "head_linear: z and z_weight must be given together, got only z"},
      {"a second weight without z", [=] { head_linear(x, weight, {}, weight, {}); },
       "head_linear: z and z_weight must be given together, got only z_weight"},
      {"z is not like x",
       [=] {
         head_linear(x, weight, random_tensor({2, 2, 8}, 1), weight, {});
       },
       "head_linear: z must be [2,3,8], got [2,2,8]"},
      {"z_weight is not like weight",
       [=] {
         head_linear(x, weight, x, random_tensor({2, 4, 4}, 1), {});
       },
       "head_linear: z_weight must be [2,5,4], got [2,4,4]"},
      {"z of another dtype", [=] { head_linear(x, weight, x.to(DType::f32), weight, {}); },
       "head_linear: z must be f64 like the first input, got f32"},
      {"weight is f32", [=] { head_linear(x, weight.to(DType::f32)); },
       "head_linear: weight must be f64 like the first input, got f32"},
      {"x is i32",
       [=] {
         head_linear(random_tokens({2, 8}, 5, 1), weight);
       },
       "head_linear: x must be f64, f32 or bf16, got i32"},
      {"weight is missing", [=] { head_linear(x, Tensor()); },
       "head_linear: weight is required, got an undefined tensor"},
  };
}

}  // namespace

OpCases head_linear_cases() {
  using enum BiasForm;
  OpCases all;
  all.cases = {
      split_input("heads as rows", {2, 5, 1}, {3, 4, 2, BiasForm::of_heads}, 4),
      split_input("heads as rows, one head", {2, 5, 1}, {1, 4, 3, BiasForm::flat}, 4),
      split_input("heads as rows, as wide as they are many", {2, 3, 1}, {3, 3, 3, BiasForm::none}, 3),
      split_input("heads as rows, columns of them", {2, 7, 1}, {3, 2, 5, BiasForm::of_heads}, 6),
      one_input("one element", {1, 1}, {1, 1, 1, flat}),
      one_input("one row without further axes", {1}, {3, 2, 5, of_heads}),
      one_input("one head is a linear", {2, 3, 1}, {1, 7, 5, flat}),
      one_input("heads of width 1", {2, 5, 1}, {6, 1, 1, of_heads}),
      one_input("no bias, more out than in", {2, 3, 1}, {4, 3, 17, none}),
      one_input("more in than out", {2, 3, 1}, {2, 17, 3, of_heads}),
      one_input("130 rows, beyond a block of rows", {130, 1}, {2, 5, 3, flat}),
      one_input("60 heads, cut between products", {9, 1}, {60, 2, 3, of_heads}),
      two_inputs("two inputs: one element", {1, 1}, {1, 1, 1, flat}),
      two_inputs("two inputs, T=1", {2, 1, 1}, {4, 3, 3, flat}),
      two_inputs("two inputs, no bias", {2, 7, 1}, {2, 5, 9, none}),
      two_inputs("two inputs, bias of heads", {3, 5, 1}, {3, 4, 7, of_heads}),
      two_inputs("two inputs, 70 rows, heads of 33", {70, 1}, {2, 33, 3, flat}),
      halves("halves of one weight, columns of one input", {2, 5, 1}, {3, 4, 6, of_heads}),
      halves("halves of one weight, one head, one column", {3, 4, 1}, {1, 1, 2, flat}),
      {"z is x, and the second weight is the first",
       {random_tensor({2, 3, 6}, 1), random_tensor({2, 3, 3}, 2)},
       [](std::span<const Tensor> in) { return std::vector{head_linear(in[0], in[1], in[0], in[1], {})}; },
       [](std::span<const Tensor> in) {
         const Tensor y = affine(in[0], in[1], {});
         return std::vector{sum(y, y)};
       },
       {activation, parameter}},
  };
  all.errors = error_cases();
  return all;
}

OpBench head_linear_bench() {
  return {.sizes = {{"B", 8, "sequences"},
                    {"T", 1024, "tokens"},
                    {"H", 12, "heads"},
                    {"I", 64, "channels of a head of x"},
                    {"O", 64, "channels of a head of y"},
                    {"Z", 0, "1: a second input z of the same width", 0}},
          .counted = "2 H I O operations a token and input forward, 4 H I O backward",
          .make = [](const BenchSizes& s) -> BenchCall {
            const Shape rows{s["B"], s["T"], s["H"], s["I"]};
            const Shape weights{s["H"], s["O"], s["I"]};
            if (s["Z"] > 1) raise<ValueError>("bench of head_linear: Z must be 0 or 1; got ", s["Z"], "; correct it");
            const bool second = s["Z"] == 1;
            const double product = (second ? 4.0 : 2.0) * static_cast<double>(rows.numel() * s["O"]);
            BenchCall call{.inputs = {BenchInput::normal(rows), BenchInput::normal(weights, 0.1), BenchInput(),
                                      BenchInput(), BenchInput::normal({s["H"], s["O"]})},
                           .run =
                               [=](std::span<const Tensor> in) {
                                 return std::vector{second ? head_linear(in[0], in[1], in[2], in[3], in[4])
                                                           : head_linear(in[0], in[1], in[4])};
                               },
                           .forward_operations = product,
                           .backward_operations = 2 * product,
                           .read_again = {0, 1, 2, 3}};
            if (second) {
              call.inputs[2] = BenchInput::normal(rows);
              call.inputs[3] = BenchInput::normal(weights, 0.1);
            }
            return call;
          }};
}

}  // namespace mixgrad::test
