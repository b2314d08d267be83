#include "ops/layer_norm/layer_norm.h"

#include <cmath>

#include "autograd/tape.h"
#include "ops/cases/cases.h"
#include "ops/norm/norm_blocks.h"

namespace mixgrad::test {
namespace {

using enum InputRole;

// y[c] = weight[c] (x[c] - mean) / sqrt(var + eps) + bias[c], var = sum_c (x[c] - mean)^2 / D
Tensor normalised(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  const std::int64_t width = x.cols();
  Tensor y = Tensor::empty(x.shape(), DType::f64);
  for (std::int64_t r = 0; r < x.rows(); ++r) {
    double sum = 0;
    for (std::int64_t c = 0; c < width; ++c) sum += x.at(r * width + c);
    const double mean = sum / static_cast<double>(width);
    double squares = 0;
    for (std::int64_t c = 0; c < width; ++c) squares += std::pow(x.at(r * width + c) - mean, 2);
    const double inv_std = 1 / std::sqrt(squares / static_cast<double>(width) + eps);
    for (std::int64_t c = 0; c < width; ++c) {
      const double xhat = (x.at(r * width + c) - mean) * inv_std;
      y.set(r * width + c, weight.at(c) * xhat + (bias.defined() ? bias.at(c) : 0));
    }
  }
  return y;
}

Tensor summed(const Tensor& x, const Tensor& y) {
  Tensor sum = Tensor::empty(x.shape(), DType::f64);
  for (std::int64_t i = 0; i < x.numel(); ++i) sum.set(i, x.at(i) + y.at(i));
  return sum;
}

Tensor with_offset(const Tensor& x, double offset) {
  for (std::int64_t i = 0; i < x.numel(); ++i) x.set(i, x.at(i) + offset);
  return x;
}

Tensor in_halves(const Tensor& x) {
  for (std::int64_t i = 0; i < x.numel(); ++i) x.set(i, std::round(2 * x.at(i)) / 2);
  return x;
}

OpCase norm_case(const std::string& note, const Tensor& x, bool with_bias, double eps) {
  const std::int64_t width = x.cols();
  return {note,
          {x, random_tensor({width}, 2), with_bias ? random_tensor({width}, 3) : Tensor()},
          [=](std::span<const Tensor> in) { return std::vector{layer_norm(in[0], in[1], in[2], eps)}; },
          [=](std::span<const Tensor> in) { return std::vector{normalised(in[0], in[1], in[2], eps)}; }};
}

std::vector<Tensor> both(const SumAndNorm& result) { return {result.sum, result.normed}; }

std::vector<Tensor> both_expected(const Tensor& x, const Tensor& y, const Tensor& weight, const Tensor& bias,
                                  double eps) {
  const Tensor sum = summed(x, y);
  return {sum, normalised(sum, weight, bias, eps)};
}

OpCase add_case(const std::string& note, const Tensor& x, const Tensor& y, bool with_bias, double eps) {
  const std::int64_t width = x.cols();
  return {note,
          {x, y, random_tensor({width}, 2), with_bias ? random_tensor({width}, 3) : Tensor()},
          [=](std::span<const Tensor> in) { return both(add_layer_norm(in[0], in[1], in[2], in[3], eps)); },
          [=](std::span<const Tensor> in) { return both_expected(in[0], in[1], in[2], in[3], eps); }};
}

}  // namespace

OpCases layer_norm_cases() {
  OpCases all;
  all.cases = {
      norm_case("D=1: x has no influence", random_tensor({3, 1}, 1), true, 1e-5),
      norm_case("a single row without further axes", random_tensor({7}, 1), true, 1e-5),
      norm_case("T=1, no bias", random_tensor({2, 1, 17}, 1), false, 1e-5),
      norm_case("odd sizes", random_tensor({2, 3, 33}, 1), true, 1e-5),
      norm_case("five axes", random_tensor({2, 1, 3, 1, 5}, 1), true, 1e-5),
      norm_case("D=65, no bias", random_tensor({7, 65}, 1), false, 1e-5),
      norm_case("130 rows of 16, beyond a block of rows", random_tensor({2, 65, 16}, 1), true, 1e-5),
      norm_case("2100 rows of 2", random_tensor({2100, 2}, 1), true, 0.5),
      norm_case("D=136, whole chunks of 16 bytes", random_tensor({6, 136}, 1), true, 1e-5),
      norm_case("D=300", random_tensor({5, 300}, 1), true, 1e-5),
      norm_case("offset 100: the variance must not cancel", with_offset(random_tensor({3, 17}, 1), 100), true, 1e-5),
      norm_case("large eps, a constant row", Tensor::full({2, 7}, DType::f64, 3), true, 0.5),
      {"x is a column view",
       {random_tensor({2, 5, 20}, 1), random_tensor({9}, 2), random_tensor({9}, 3)},
       [](std::span<const Tensor> in) { return std::vector{layer_norm(columns(in[0], 4, 13), in[1], in[2], 1e-5)}; },
       [](std::span<const Tensor> in) { return std::vector{normalised(in[0].column_view(4, 13), in[1], in[2], 1e-5)}; },
       {activation, parameter_f32, parameter_f32}},
      {"weight and bias are the same tensor",
       {random_tensor({5, 9}, 1), random_tensor({9}, 2)},
       [](std::span<const Tensor> in) { return std::vector{layer_norm(in[0], in[1], in[1], 1e-5)}; },
       [](std::span<const Tensor> in) { return std::vector{normalised(in[0], in[1], in[1], 1e-5)}; },
       {activation, parameter_f32}},
  };

  const Tensor x = random_tensor({2, 3, 4}, 1);
  const Tensor weight = random_tensor({4}, 2);
  all.errors = {
      {"weight of another width", [=] { layer_norm(x, random_tensor({5}, 1), {}, 1e-5); },
       "layer_norm: weight must be [4], got [5]"},
      {"bias of another width", [=] { layer_norm(x, weight, random_tensor({3}, 1), 1e-5); },
       "layer_norm: bias must be [4], got [3]"},
      {"weight is f32", [=] { layer_norm(x, weight.to(DType::f32), {}, 1e-5); },
       "layer_norm: weight must be f64 like the first input, got f32"},
      {"bias is f32", [=] { layer_norm(x, weight, weight.to(DType::f32), 1e-5); },
       "layer_norm: bias must be f64 like the first input, got f32"},
      {"x and weight are bf16", [=] { layer_norm(x.to(DType::bf16), weight.to(DType::bf16), {}, 1e-5); },
       "layer_norm: weight must be f32 beside a bf16 first input, got bf16"},
      {"x is i32",
       [=] {
         layer_norm(random_tokens({2, 4}, 3, 1), weight, {}, 1e-5);
       },
       "layer_norm: x must be f64, f32 or bf16, got i32"},
      {"weight is missing", [=] { layer_norm(x, Tensor(), {}, 1e-5); },
       "layer_norm: weight is required, got an undefined tensor"},
  };
  all.block_sizes = kNormBlocks;
  all.with_size = [](std::string_view axis, std::int64_t size) {
    if (axis == "eights of channels") return norm_case("", random_tensor({2, 8 * size}, 1), true, 1e-5);
    if (axis == "rows") return norm_case("", random_tensor({size, 16}, 1), true, 1e-5);
    raise_unknown_axis(axis);
  };
  return all;
}

OpCases add_layer_norm_cases() {
  OpCases all;
  const auto pair = [](const std::string& note, const Shape& shape, bool with_bias, double eps = 1e-5) {
    return add_case(note, random_tensor(shape, 1), random_tensor(shape, 4), with_bias, eps);
  };
  all.cases = {
      pair("D=1", {3, 1}, true),
      pair("a single row without further axes", {7}, true),
      pair("T=1, no bias", {2, 1, 17}, false),
      pair("odd sizes", {2, 3, 33}, true),
      pair("D=65, no bias", {7, 65}, false),
      pair("130 rows of 9, beyond a block of rows", {2, 65, 9}, true),
      pair("2100 rows of 2", {2100, 2}, true, 0.5),
      pair("D=136, whole chunks of 16 bytes", {6, 136}, true),
      pair("D=300", {3, 300}, true),
      // All numbers and their sums are multiples of 1/2 below 128, so that bf16 holds them exactly.
      add_case("offset 96: the variance must not cancel", with_offset(in_halves(random_tensor({3, 17}, 1)), 96),
               in_halves(random_tensor({3, 17}, 4)), true, 1e-5),
      {"x and y are the same tensor",
       {random_tensor({5, 9}, 1), random_tensor({9}, 2), random_tensor({9}, 3)},
       [](std::span<const Tensor> in) { return both(add_layer_norm(in[0], in[0], in[1], in[2], 1e-5)); },
       [](std::span<const Tensor> in) { return both_expected(in[0], in[0], in[1], in[2], 1e-5); },
       {activation, parameter_f32, parameter_f32}},
      {"x and y are column views of one tensor",
       {random_tensor({2, 5, 20}, 1), random_tensor({9}, 2), random_tensor({9}, 3)},
       [](std::span<const Tensor> in) {
         return both(add_layer_norm(columns(in[0], 1, 10), columns(in[0], 11, 20), in[1], in[2], 1e-5));
       },
       [](std::span<const Tensor> in) {
         return both_expected(in[0].column_view(1, 10), in[0].column_view(11, 20), in[1], in[2], 1e-5);
       },
       {activation, parameter_f32, parameter_f32}},
      {"only the sum is used",
       {random_tensor({5, 9}, 1), random_tensor({5, 9}, 4), random_tensor({9}, 2)},
       [](std::span<const Tensor> in) { return std::vector{add_layer_norm(in[0], in[1], in[2], {}, 1e-5).sum}; },
       [](std::span<const Tensor> in) { return std::vector{summed(in[0], in[1])}; },
       {activation, activation, parameter_f32}},
      {"only the norm is used",
       {random_tensor({5, 9}, 1), random_tensor({5, 9}, 4), random_tensor({9}, 2)},
       [](std::span<const Tensor> in) { return std::vector{add_layer_norm(in[0], in[1], in[2], {}, 1e-5).normed}; },
       [](std::span<const Tensor> in) { return std::vector{normalised(summed(in[0], in[1]), in[2], {}, 1e-5)}; },
       {activation, activation, parameter_f32}},
  };

  for (const Shape& shape : {Shape{3, 1}, Shape{2, 3, 33}, Shape{6, 136}, Shape{2, 65, 16}}) {
    all.cases.push_back(pair("x and the sum in f32 beside bf16, " + std::to_string(shape.cols()), shape, true));
    all.cases.back().roles = {activation_f32, activation, parameter_f32, parameter_f32};
    all.cases.back().f32_outputs = {0};
  }

  const Tensor x = random_tensor({2, 3, 4}, 1);
  const Tensor weight = random_tensor({4}, 2);
  all.errors = {
      {"y of another shape",
       [=] {
         add_layer_norm(x, random_tensor({2, 4, 4}, 1), weight, {}, 1e-5);
       },
       "add_layer_norm: y must be [2,3,4], got [2,4,4]"},
      {"y of another dtype", [=] { add_layer_norm(x, x.to(DType::f32), weight, {}, 1e-5); },
       "add_layer_norm: y must be f64 like the first input, got f32"},
      {"y is f32 beside a bf16 x",
       [=] { add_layer_norm(x.to(DType::bf16), x.to(DType::f32), weight.to(DType::f32), {}, 1e-5); },
       "add_layer_norm: y must be bf16 like the first input, got f32"},
      {"weight of another width", [=] { add_layer_norm(x, x, random_tensor({5}, 1), {}, 1e-5); },
       "add_layer_norm: weight must be [4], got [5]"},
      {"bias of another width", [=] { add_layer_norm(x, x, weight, random_tensor({5}, 1), 1e-5); },
       "add_layer_norm: bias must be [4], got [5]"},
      {"y is missing", [=] { add_layer_norm(x, Tensor(), weight, {}, 1e-5); },
       "add_layer_norm: y is required, got an undefined tensor"},
  };
  all.block_sizes = kNormBlocks;
  all.with_size = [](std::string_view axis, std::int64_t size) {
    if (axis == "eights of channels") {
      return add_case("", random_tensor({2, 8 * size}, 1), random_tensor({2, 8 * size}, 4), true, 1e-5);
    }
    if (axis == "rows") return add_case("", random_tensor({size, 16}, 1), random_tensor({size, 16}, 4), true, 1e-5);
    raise_unknown_axis(axis);
  };
  return all;
}

OpBench layer_norm_bench() {
  return {.sizes = {{"B", 8, "sequences"}, {"T", 1024, "tokens"}, {"D", 768, "channels"}},
          .counted = "8 operations an element forward, 13 backward",
          .make = [](const BenchSizes& s) -> BenchCall {
            const Shape x{s["B"], s["T"], s["D"]};
            const auto elements = static_cast<double>(x.numel());
            return {
                .inputs = {BenchInput::normal(x), BenchInput::normal({s["D"]}), BenchInput::normal({s["D"]})},
                .run = [](std::span<const Tensor> in) { return std::vector{layer_norm(in[0], in[1], in[2], 1e-5)}; },
                .forward_operations = 8 * elements,
                .backward_operations = 13 * elements,
                .read_again = {0, 1}};
          }};
}

OpBench add_layer_norm_bench() {
  return {.sizes = {{"B", 8, "sequences"}, {"T", 1024, "tokens"}, {"D", 768, "channels"}},
          .counted = "9 operations an element forward, 14 backward",
          .make = [](const BenchSizes& s) -> BenchCall {
            const Shape x{s["B"], s["T"], s["D"]};
            BenchInput y = BenchInput::normal(x);
            y.written = 0;  // dx and dy are one tensor
            const auto elements = static_cast<double>(x.numel());
            return {.inputs = {BenchInput::normal(x), y, BenchInput::normal({s["D"]}), BenchInput::normal({s["D"]})},
                    .run =
                        [](std::span<const Tensor> in) {
                          const SumAndNorm both = add_layer_norm(in[0], in[1], in[2], in[3], 1e-5);
                          return std::vector{both.sum, both.normed};
                        },
                    .forward_operations = 9 * elements,
                    .backward_operations = 14 * elements,
                    .read_again = {2},
                    .outputs_read_again = {0}};
          }};
}

}  // namespace mixgrad::test
