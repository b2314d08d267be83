#include "autograd/tape.h"
#include "ops/cases/cases.h"
#include "ops/linear/linear.h"
#include "ops/matmul/product_blocks.h"

namespace mixgrad::test {
namespace {

using enum InputRole;

// y[r,n] = sum_k x[r,k] weight[n,k] + bias[n]
Tensor affine(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const std::int64_t n_out = weight.dim(0);
  const std::int64_t n_in = weight.dim(1);
  Tensor y = Tensor::empty(x.shape().with_last(n_out), DType::f64);
  for (std::int64_t r = 0; r < x.rows(); ++r) {
    for (std::int64_t n = 0; n < n_out; ++n) {
      double sum = bias.defined() ? bias.at(n) : 0;
      for (std::int64_t k = 0; k < n_in; ++k) sum += x.at(r * n_in + k) * weight.at(n * n_in + k);
      y.set(r * n_out + n, sum);
    }
  }
  return y;
}

OpCase plain(const std::string& note, const Shape& x, std::int64_t n_out, bool with_bias) {
  const Tensor bias = with_bias ? random_tensor({n_out}, 3) : Tensor();
  return {note,
          {random_tensor(x, 1), random_tensor({n_out, x.cols()}, 2), bias},
          [](std::span<const Tensor> in) { return std::vector{linear(in[0], in[1], in[2])}; },
          [](std::span<const Tensor> in) { return std::vector{affine(in[0], in[1], in[2])}; }};
}

// x is the columns [begin,end) of the first input.
OpCase of_columns(const std::string& note, const Shape& packed, std::int64_t begin, std::int64_t end,
                  std::int64_t n_out) {
  return {note,
          {random_tensor(packed, 4), random_tensor({n_out, end - begin}, 5), random_tensor({n_out}, 6)},
          [=](std::span<const Tensor> in) { return std::vector{linear(columns(in[0], begin, end), in[1], in[2])}; },
          [=](std::span<const Tensor> in) { return std::vector{affine(in[0].column_view(begin, end), in[1], in[2])}; },
          {activation, parameter, parameter}};
}

// Products of several x side by side in one tensor, `gap` columns of which hold something else: ones.
OpCase side_by_side(const std::string& note, const std::vector<std::int64_t>& widths, std::int64_t n_out,
                    std::int64_t gap, bool with_bias) {
  const std::int64_t stride = n_out + gap;
  const auto total = static_cast<std::int64_t>(widths.size()) * stride;
  std::vector<Tensor> inputs{with_bias ? random_tensor({n_out}, 13) : Tensor()};
  std::vector<InputRole> roles{parameter};
  for (const std::int64_t width : widths) {
    inputs.push_back(random_tensor({2, 5, width}, 11 + inputs.size()));
    inputs.push_back(random_tensor({n_out, width}, 31 + inputs.size()));
    roles.insert(roles.end(), {activation, parameter});
  }
  return {note, inputs,
          [=](std::span<const Tensor> in) {
            Tensor whole = Tensor::full({2, 5, total}, in[1].dtype(), 1, in[1].device());
            for (std::size_t i = 1; i < in.size(); i += 2) {
              linear_into(in[i], in[i + 1], in[0], whole, static_cast<std::int64_t>(i / 2) * stride);
            }
            return std::vector{whole};
          },
          [=](std::span<const Tensor> in) {
            const Tensor whole = Tensor::full({2, 5, total}, DType::f64, 1);
            for (std::size_t i = 1; i < in.size(); i += 2) {
              const Tensor y = affine(in[i], in[i + 1], in[0]);
              for (std::int64_t e = 0; e < y.numel(); ++e) {
                whole.set(e / n_out * total + static_cast<std::int64_t>(i / 2) * stride + e % n_out, y.at(e));
              }
            }
            return std::vector{whole};
          },
          roles};
}

}  // namespace

OpCases linear_cases() {
  OpCases all;
  all.cases = {
      plain("one element", {1, 1}, 1, true),
      plain("a single row without further axes", {7}, 3, true),
      plain("T=1, with bias", {2, 1, 7}, 5, true),
      plain("odd sizes, no bias", {2, 3, 17}, 33, false),
      plain("size-1 axes", {1, 5, 1}, 9, true),
      plain("N=1", {3, 5, 17}, 1, true),
      plain("five axes", {2, 1, 3, 2, 5}, 7, false),
      plain("65 rows, 33 to 17", {5, 13, 33}, 17, true),
      plain("130 rows, beyond a block of rows", {130, 20}, 7, true),
      plain("130 columns of 96, beyond a block of columns", {3, 96}, 130, false),
      plain("K=600, beyond a block of the inner axis", {2, 600}, 3, true),
      plain("300 rows to 300 columns", {300, 3}, 300, true),
      of_columns("x is a column view in the middle", {2, 5, 24}, 7, 16, 5),
      of_columns("x is the first columns, 70 rows", {7, 10, 40}, 0, 17, 9),
      of_columns("x is one column", {3, 4, 6}, 5, 6, 3),
      {"two views of one tensor that overlap, and the whole of it",
       {random_tensor({3, 4, 12}, 7), random_tensor({5, 8}, 8), random_tensor({2, 12}, 9)},
       [](std::span<const Tensor> in) {
         return std::vector{linear(columns(in[0], 0, 8), in[1]), linear(columns(in[0], 3, 11), in[1]),
                            linear(in[0], in[2])};
       },
       [](std::span<const Tensor> in) {
         return std::vector{affine(in[0].column_view(0, 8), in[1], {}), affine(in[0].column_view(3, 11), in[1], {}),
                            affine(in[0], in[2], {})};
       },
       {activation, parameter, parameter}},
      side_by_side("into a tensor that three products fill", {4, 7, 4}, 3, 0, true),
      side_by_side("into all columns of a tensor", {5}, 6, 0, false),
      side_by_side("into a tensor with columns that no product fills", {3, 6}, 4, 2, true),
      {"what three products filled, read as three times as many rows and in part",
       {random_tensor({2, 3, 4}, 14), random_tensor({5, 4}, 15), random_tensor({2, 5}, 16), random_tensor({3, 7}, 17)},
       [](std::span<const Tensor> in) {
         Tensor whole = Tensor::empty({2, 3, 15}, in[0].dtype(), in[0].device());
         for (const std::int64_t column : {10, 0, 5}) linear_into(in[0], in[1], {}, whole, column);
         return std::vector{linear(whole.reshape({2, 9, 5}), in[2]), linear(columns(whole, 4, 11), in[3])};
       },
       [](std::span<const Tensor> in) {
         const Tensor y = affine(in[0], in[1], {});
         const Tensor whole = Tensor::empty({2, 3, 15}, DType::f64);
         for (std::int64_t e = 0; e < whole.numel(); ++e) whole.set(e, y.at(e / 15 * 5 + e % 5));
         return std::vector{affine(whole.reshape({2, 9, 5}), in[2], {}), affine(whole.column_view(4, 11), in[3], {})};
       },
       {activation, parameter, parameter, parameter}},
      {"what two products filled, of which a part is read",
       {random_tensor({2, 3, 4}, 18), random_tensor({5, 4}, 19), random_tensor({3, 4}, 20)},
       [](std::span<const Tensor> in) {
         Tensor whole = Tensor::empty({2, 3, 10}, in[0].dtype(), in[0].device());
         for (const std::int64_t column : {0, 5}) linear_into(in[0], in[1], {}, whole, column);
         return std::vector{linear(columns(whole, 3, 7), in[2])};
       },
       [](std::span<const Tensor> in) {
         const Tensor y = affine(in[0], in[1], {});
         const Tensor part = Tensor::empty({2, 3, 4}, DType::f64);
         for (std::int64_t e = 0; e < part.numel(); ++e) part.set(e, y.at(e / 4 * 5 + (3 + e % 4) % 5));
         return std::vector{affine(part, in[2], {})};
       },
       {activation, parameter, parameter}},
      {"x and weight are the same tensor",
       {random_tensor({5, 5}, 10)},
       [](std::span<const Tensor> in) { return std::vector{linear(in[0], in[0])}; },
       [](std::span<const Tensor> in) { return std::vector{affine(in[0], in[0], {})}; },
       {activation}},
  };

  const Tensor x = random_tensor({2, 3, 4}, 1);
  const Tensor weight = random_tensor({5, 4}, 2);
  all.errors = {
      {"widths differ",
       [=] {
         linear(x, random_tensor({5, 3}, 1));
       },
       "linear: the last axis of x must be 3 to match weight [5,3], got x [2,3,4]"},
      {"weight is no matrix", [=] { linear(x, random_tensor({4}, 1)); },
       "linear: weight must be [N,K] (2 axes), got [4]"},
      {"weight is a row view",
       [=] {
         linear(x, random_tensor({5, 6}, 1).column_view(0, 4));
       },
       "linear: weight must be contiguous, got a row view [5,4]; clone() it first"},
      {"bias has the wrong size", [=] { linear(x, weight, random_tensor({4}, 1)); },
       "linear: bias must be [5], got [4]"},
      {"weight is f32", [=] { linear(x, weight.to(DType::f32)); },
       "linear: weight must be f64 like the first input, got f32"},
      {"bias is f32", [=] { linear(x, weight, random_tensor({5}, 1).to(DType::f32)); },
       "linear: bias must be f64 like the first input, got f32"},
      {"x is i32",
       [=] {
         linear(random_tokens({2, 4}, 5, 1), weight);
       },
       "linear: x must be f64, f32 or bf16, got i32"},
      {"into columns that do not exist",
       [=] {
         Tensor whole = Tensor::zeros({2, 3, 7}, DType::f64);
         linear_into(x, weight, {}, whole, 3);
       },
       "linear: the columns [3,8) for x [2,3,4] must lie within a tensor of as many rows, got [2,3,7]"},
      {"into another number of rows",
       [=] {
         Tensor whole = Tensor::zeros({3, 2, 5}, DType::f64);
         linear_into(x, weight, {}, whole, 0);
       },
       "linear: the columns [0,5) for x [2,3,4] must lie within a tensor of as many rows, got [3,2,5]"},
      {"into f32",
       [=] {
         Tensor whole = Tensor::zeros({2, 3, 5}, DType::f32);
         linear_into(x, weight, {}, whole, 0);
       },
       "linear: whole must be f64 like the first input, got f32"},
      {"weight is missing", [=] { linear(x, Tensor()); }, "linear: weight is required, got an undefined tensor"},
      {"x is a scalar", [=] { linear(Tensor::full({}, DType::f64, 1), weight); },
       "linear: the last axis of x must be 4 to match weight [5,4], got x []"},
  };
  all.block_sizes = kProductBlocks;
  all.with_size = [](std::string_view axis, std::int64_t size) {
    if (axis == "rows") return plain("", {size, 3}, 2, true);
    if (axis == "columns") return plain("", {3, 2}, size, true);
    if (axis == "inner") return plain("", {2, size}, 3, true);
    raise_unknown_axis(axis);
  };
  return all;
}

OpBench linear_bench() {
  return {.sizes = {{"B", 8, "sequences"}, {"T", 1024, "tokens"}, {"K", 768, "channels of x"}, {"N", 768, "of y"}},
          .counted = "2 K N operations a token forward, 4 K N backward",
          .make = [](const BenchSizes& s) -> BenchCall {
            const std::int64_t k = s["K"];
            const std::int64_t n = s["N"];
            const double product = 2.0 * static_cast<double>(s["B"] * s["T"]) * static_cast<double>(n * k);
            return {.inputs = {BenchInput::normal({s["B"], s["T"], k}), BenchInput::normal({n, k}, 0.02),
                               BenchInput::normal({n})},
                    .run = [](std::span<const Tensor> in) { return std::vector{linear(in[0], in[1], in[2])}; },
                    .forward_operations = product,
                    .backward_operations = 2 * product,
                    .read_again = {0, 1}};
          }};
}

}  // namespace mixgrad::test
