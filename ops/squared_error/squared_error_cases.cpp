#include "ops/squared_error/squared_error.h"

#include "autograd/tape.h"
#include "ops/cases/cases.h"

namespace mixgrad::test {
namespace {

using enum InputRole;

Tensor mean_square(const Tensor& x, const Tensor& target) {
  double sum = 0;
  for (std::int64_t i = 0; i < x.numel(); ++i) sum += (x.at(i) - target.at(i)) * (x.at(i) - target.at(i));
  return Tensor::full({1}, DType::f64, sum / static_cast<double>(x.numel()));
}

OpCase plain(const std::string& note, const Shape& shape) {
  return {note,
          {random_tensor(shape, 1), random_tensor(shape, 2)},
          [](std::span<const Tensor> in) { return std::vector{squared_error(in[0], in[1])}; },
          [](std::span<const Tensor> in) { return std::vector{mean_square(in[0], in[1])}; }};
}

}  // namespace

OpCases squared_error_cases() {
  OpCases all;
  all.cases = {
      plain("one element", {1}),
      plain("T=1", {2, 1, 7}),
      plain("odd sizes", {2, 3, 17}),
      plain("one column", {5, 1}),
      plain("rows of 300, beyond a block of threads", {3, 300}),
      plain("1030 rows, beyond a task", {1030, 2}),
      {"columns of two tensors",
       {random_tensor({2, 3, 17}, 4), random_tensor({2, 3, 9}, 5)},
       [](std::span<const Tensor> in) {
         return std::vector{squared_error(columns(in[0], 6, 11), columns(in[1], 1, 6))};
       },
       [](std::span<const Tensor> in) {
         return std::vector{mean_square(in[0].column_view(6, 11), in[1].column_view(1, 6))};
       },
       {activation, activation}},
  };
  for (OpCase& c : all.cases) c.f32_outputs = {0};  // a loss in bf16 would be useless
  const Tensor x = random_tensor({2, 3}, 1);
  all.errors = {
      {"target has another shape",
       [=] {
         squared_error(x, random_tensor({2, 4}, 1));
       },
       "squared_error: target must be [2,3], got [2,4]"},
      {"target has another type", [=] { squared_error(x, x.to(DType::f32)); },
       "squared_error: target must be f64 like the first input, got f32"},
      {"x is i32",
       [=] {
         squared_error(random_tokens({2, 3}, 5, 1), x);
       },
       "squared_error: x must be f64, f32 or bf16, got i32"},
      {"no elements",
       [=] {
         squared_error(Tensor::empty({0, 3}, DType::f64), Tensor::empty({0, 3}, DType::f64));
       },
       "squared_error: x must have at least one element, got [0,3]"},
  };
  return all;
}

OpBench squared_error_bench() {
  return {.sizes = {{"B", 8, "sequences"}, {"T", 256, "tokens"}, {"D", 768, "channels"}},
          .counted = "3 operations an element forward, 3 backward",
          .make = [](const BenchSizes& s) -> BenchCall {
            const Shape shape{s["B"], s["T"], s["D"]};
            const auto elements = static_cast<double>(shape.numel());
            return {.inputs = {BenchInput::normal(shape), BenchInput::normal(shape)},
                    .run = [](std::span<const Tensor> in) { return std::vector{squared_error(in[0], in[1])}; },
                    .forward_operations = 3 * elements,
                    .backward_operations = 3 * elements,
                    .read_again = {0, 1}};
          }};
}

}  // namespace mixgrad::test
