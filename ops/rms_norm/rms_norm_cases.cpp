#include "ops/rms_norm/rms_norm.h"

#include <cmath>

#include "autograd/tape.h"
#include "ops/cases/cases.h"
#include "ops/norm/norm_blocks.h"

namespace mixgrad::test {
namespace {

using enum InputRole;

// y[c] = weight[c] x[c] / sqrt(sum_c x[c]^2 / D + eps)
Tensor normalised(const Tensor& x, const Tensor& weight, double eps) {
  const std::int64_t width = x.cols();
  Tensor y = Tensor::empty(x.shape(), DType::f64);
  for (std::int64_t r = 0; r < x.rows(); ++r) {
    double squares = 0;
    for (std::int64_t c = 0; c < width; ++c) squares += x.at(r * width + c) * x.at(r * width + c);
    const double rms = std::sqrt(squares / static_cast<double>(width) + eps);
    for (std::int64_t c = 0; c < width; ++c) y.set(r * width + c, weight.at(c) * x.at(r * width + c) / rms);
  }
  return y;
}

Tensor summed(const Tensor& x, const Tensor& y) {
  Tensor sum = Tensor::empty(x.shape(), DType::f64);
  for (std::int64_t i = 0; i < x.numel(); ++i) sum.set(i, x.at(i) + y.at(i));
  return sum;
}

OpCase norm_case(const std::string& note, const Tensor& x, double eps = 1e-5) {
  return {note,
          {x, random_tensor({x.cols()}, 2)},
          [=](std::span<const Tensor> in) { return std::vector{rms_norm(in[0], in[1], eps)}; },
          [=](std::span<const Tensor> in) { return std::vector{normalised(in[0], in[1], eps)}; }};
}

std::vector<Tensor> both(const SumAndNorm& result) { return {result.sum, result.normed}; }

std::vector<Tensor> both_expected(const Tensor& x, const Tensor& y, const Tensor& weight, double eps) {
  const Tensor sum = summed(x, y);
  return {sum, normalised(sum, weight, eps)};
}

OpCase add_case(const std::string& note, const Shape& shape, double eps = 1e-5) {
  return {note,
          {random_tensor(shape, 1), random_tensor(shape, 4), random_tensor({shape.cols()}, 2)},
          [=](std::span<const Tensor> in) { return both(add_rms_norm(in[0], in[1], in[2], eps)); },
          [=](std::span<const Tensor> in) { return both_expected(in[0], in[1], in[2], eps); }};
}

}  // namespace

OpCases rms_norm_cases() {
  OpCases all;
  all.cases = {
      norm_case("D=1, large eps", random_tensor({3, 1}, 1), 0.5),
      norm_case("a single row without further axes", random_tensor({7}, 1)),
      norm_case("T=1", random_tensor({2, 1, 17}, 1)),
      norm_case("odd sizes", random_tensor({2, 3, 33}, 1)),
      norm_case("five axes", random_tensor({2, 1, 3, 1, 5}, 1)),
      norm_case("D=65", random_tensor({7, 65}, 1)),
      norm_case("130 rows of 16, beyond a block of rows", random_tensor({2, 65, 16}, 1)),
      norm_case("2100 rows of 2", random_tensor({2100, 2}, 1), 0.5),
      norm_case("D=136, whole chunks of 16 bytes", random_tensor({6, 136}, 1)),
      norm_case("D=300", random_tensor({5, 300}, 1)),
      norm_case("a row of zeros, large eps", Tensor::zeros({2, 7}, DType::f64), 0.5),
      {"x is a column view",
       {random_tensor({2, 5, 20}, 1), random_tensor({9}, 2)},
       [](std::span<const Tensor> in) { return std::vector{rms_norm(columns(in[0], 4, 13), in[1], 1e-5)}; },
       [](std::span<const Tensor> in) { return std::vector{normalised(in[0].column_view(4, 13), in[1], 1e-5)}; },
       {activation, parameter_f32}},
  };

  const Tensor x = random_tensor({2, 3, 4}, 1);
  const Tensor weight = random_tensor({4}, 2);
  all.errors = {
      {"weight of another width", [=] { rms_norm(x, random_tensor({5}, 1), 1e-5); },
       "rms_norm: weight must be [4], got [5]"},
      {"a norm of f64 in bf16", [=] { rms_norm(x, weight, 1e-5, DType::bf16); },
       "rms_norm: the norm of f64 must be f64, got bf16"},
      {"a norm of f32 in f64", [=] { rms_norm(x.to(DType::f32), weight.to(DType::f32), 1e-5, DType::f64); },
       "rms_norm: the norm of f32 must be f32 or bf16, got f64"},
      {"weight is f32", [=] { rms_norm(x, weight.to(DType::f32), 1e-5); },
       "rms_norm: weight must be f64 like the first input, got f32"},
      {"x is i32",
       [=] {
         rms_norm(random_tokens({2, 4}, 3, 1), weight, 1e-5);
       },
       "rms_norm: x must be f64, f32 or bf16, got i32"},
      {"weight is missing", [=] { rms_norm(x, Tensor(), 1e-5); },
       "rms_norm: weight is required, got an undefined tensor"},
  };
  all.block_sizes = kNormBlocks;
  all.with_size = [](std::string_view axis, std::int64_t size) {
    if (axis == "eights of channels") return norm_case("", random_tensor({2, 8 * size}, 1), 1e-5);
    if (axis == "rows") return norm_case("", random_tensor({size, 16}, 1), 1e-5);
    raise_unknown_axis(axis);
  };
  return all;
}

OpCases add_rms_norm_cases() {
  OpCases all;
  all.cases = {
      add_case("D=1, large eps", {3, 1}, 0.5),
      add_case("a single row without further axes", {7}),
      add_case("T=1", {2, 1, 17}),
      add_case("odd sizes", {2, 3, 33}),
      add_case("D=65", {7, 65}),
      add_case("130 rows of 9, beyond a block of rows", {2, 65, 9}),
      add_case("2100 rows of 2", {2100, 2}, 0.5),
      add_case("D=136, whole chunks of 16 bytes", {6, 136}),
      add_case("D=300", {3, 300}),
      {"x and y are the same tensor",
       {random_tensor({5, 9}, 1), random_tensor({9}, 2)},
       [](std::span<const Tensor> in) { return both(add_rms_norm(in[0], in[0], in[1], 1e-5)); },
       [](std::span<const Tensor> in) { return both_expected(in[0], in[0], in[1], 1e-5); },
       {activation, parameter_f32}},
      {"x and y are column views of one tensor",
       {random_tensor({2, 5, 20}, 1), random_tensor({9}, 2)},
       [](std::span<const Tensor> in) {
         return both(add_rms_norm(columns(in[0], 1, 10), columns(in[0], 11, 20), in[1], 1e-5));
       },
       [](std::span<const Tensor> in) {
         return both_expected(in[0].column_view(1, 10), in[0].column_view(11, 20), in[1], 1e-5);
       },
       {activation, parameter_f32}},
      {"only the sum is used",
       {random_tensor({5, 9}, 1), random_tensor({5, 9}, 4), random_tensor({9}, 2)},
       [](std::span<const Tensor> in) { return std::vector{add_rms_norm(in[0], in[1], in[2], 1e-5).sum}; },
       [](std::span<const Tensor> in) { return std::vector{summed(in[0], in[1])}; },
       {activation, activation, parameter_f32}},
      {"only the norm is used",
       {random_tensor({5, 9}, 1), random_tensor({5, 9}, 4), random_tensor({9}, 2)},
       [](std::span<const Tensor> in) { return std::vector{add_rms_norm(in[0], in[1], in[2], 1e-5).normed}; },
       [](std::span<const Tensor> in) { return std::vector{normalised(summed(in[0], in[1]), in[2], 1e-5)}; },
       {activation, activation, parameter_f32}},
  };

  for (const Shape& shape : {Shape{3, 1}, Shape{2, 3, 33}, Shape{6, 136}, Shape{2, 65, 16}}) {
    all.cases.push_back(add_case("x and the sum in f32 beside bf16, " + std::to_string(shape.cols()), shape));
    all.cases.back().roles = {activation_f32, activation, parameter_f32};
    all.cases.back().f32_outputs = {0};
  }

  const Tensor x = random_tensor({2, 3, 4}, 1);
  const Tensor weight = random_tensor({4}, 2);
  all.errors = {
      {"y of another shape",
       [=] {
         add_rms_norm(x, random_tensor({2, 4, 4}, 1), weight, 1e-5);
       },
       "add_rms_norm: y must be [2,3,4], got [2,4,4]"},
      {"y of another dtype", [=] { add_rms_norm(x, x.to(DType::f32), weight, 1e-5); },
       "add_rms_norm: y must be f64 like the first input, got f32"},
      {"weight of another width", [=] { add_rms_norm(x, x, random_tensor({5}, 1), 1e-5); },
       "add_rms_norm: weight must be [4], got [5]"},
      {"y is missing", [=] { add_rms_norm(x, Tensor(), weight, 1e-5); },
       "add_rms_norm: y is required, got an undefined tensor"},
  };
  all.block_sizes = kNormBlocks;
  all.with_size = [](std::string_view axis, std::int64_t size) {
    if (axis == "eights of channels") return add_case("", {2, 8 * size});
    if (axis == "rows") return add_case("", {size, 16});
    raise_unknown_axis(axis);
  };
  return all;
}

OpBench rms_norm_bench() {
  return {.sizes = {{"B", 8, "sequences"}, {"T", 1024, "tokens"}, {"D", 768, "channels"}},
          .counted = "4 operations an element forward, 9 backward",
          .make = [](const BenchSizes& s) -> BenchCall {
            const Shape x{s["B"], s["T"], s["D"]};
            const auto elements = static_cast<double>(x.numel());
            return {.inputs = {BenchInput::normal(x), BenchInput::normal({s["D"]})},
                    .run = [](std::span<const Tensor> in) { return std::vector{rms_norm(in[0], in[1], 1e-5)}; },
                    .forward_operations = 4 * elements,
                    .backward_operations = 9 * elements,
                    .read_again = {0, 1}};
          }};
}

OpBench add_rms_norm_bench() {
  return {.sizes = {{"B", 8, "sequences"}, {"T", 1024, "tokens"}, {"D", 768, "channels"}},
          .counted = "5 operations an element forward, 10 backward",
          .make = [](const BenchSizes& s) -> BenchCall {
            const Shape x{s["B"], s["T"], s["D"]};
            BenchInput y = BenchInput::normal(x);
            y.written = 0;  // dx and dy are one tensor
            const auto elements = static_cast<double>(x.numel());
            return {.inputs = {BenchInput::normal(x), y, BenchInput::normal({s["D"]})},
                    .run =
                        [](std::span<const Tensor> in) {
                          const SumAndNorm both = add_rms_norm(in[0], in[1], in[2], 1e-5);
                          return std::vector{both.sum, both.normed};
                        },
                    .forward_operations = 5 * elements,
                    .backward_operations = 10 * elements,
                    .read_again = {2},
                    .outputs_read_again = {0}};
          }};
}

}  // namespace mixgrad::test
