#include "ops/distillation_loss/distillation_loss.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/tape.h"
#include "ops/cases/cases.h"

namespace mixgrad::test {
namespace {

using enum InputRole;

// log softmax(row / temperature)
std::vector<double> log_probabilities(const Tensor& x, std::int64_t row, double temperature) {
  const std::int64_t width = x.cols();
  std::vector<double> values;
  for (std::int64_t v = 0; v < width; ++v) values.push_back(x.at(row * width + v) / temperature);
  const double top = *std::max_element(values.begin(), values.end());
  double sum = 0;
  for (const double value : values) sum += std::exp(value - top);
  for (double& value : values) value -= top + std::log(sum);
  return values;
}

Tensor mean_loss(const Tensor& logits, const Tensor& teacher, const Tensor& targets, const Distillation& how) {
  double sum = 0;
  double count = 0;
  for (std::int64_t r = 0; r < targets.numel(); ++r) {
    if (targets.at(r) == -1) continue;
    count += 1;
    sum -= (1 - how.mix) * log_probabilities(logits, r, 1)[static_cast<std::size_t>(targets.at(r))];
    const std::vector<double> log_p = log_probabilities(teacher, r, how.temperature);
    const std::vector<double> log_q = log_probabilities(logits, r, how.temperature);
    for (std::size_t v = 0; v < log_p.size(); ++v) {
      sum += how.mix * how.temperature * how.temperature * std::exp(log_p[v]) * (log_p[v] - log_q[v]);
    }
  }
  return Tensor::full({1}, DType::f64, count == 0 ? 0 : sum / count);
}

Tensor scaled(const Tensor& x, double factor) {
  for (std::int64_t i = 0; i < x.numel(); ++i) x.set(i, x.at(i) * factor);
  return x;
}

// Every `ignored`-th target is -1 (0: none).
Tensor some_targets(const Shape& shape, std::int64_t vocabulary, std::int64_t ignored) {
  Tensor targets = random_tokens(shape, static_cast<std::int32_t>(vocabulary), 3);
  for (std::int64_t i = 0; ignored > 0 && i < targets.numel(); i += ignored) targets.set(i, -1);
  return targets;
}

OpCase plain(const std::string& note, const Shape& shape, const Distillation& how, std::int64_t ignored = 0,
             double scale = 1) {
  return {note,
          {scaled(random_tensor(shape, 1), scale), scaled(random_tensor(shape, 2), scale),
           some_targets(shape.without_last(), shape[shape.rank() - 1], ignored)},
          [how](std::span<const Tensor> in) { return std::vector{distillation_loss(in[0], in[1], in[2], how)}; },
          [how](std::span<const Tensor> in) { return std::vector{mean_loss(in[0], in[1], in[2], how)}; }};
}

}  // namespace

OpCases distillation_loss_cases() {
  OpCases all;
  all.cases = {
      plain("one row, two tokens", {1, 2}, {.temperature = 1, .mix = 1}),
      plain("V=1: the loss is 0", {2, 3, 1}, {.temperature = 2, .mix = 0.5}),
      plain("odd sizes", {2, 7, 33}, {.temperature = 2, .mix = 0.5}),
      plain("the teacher alone", {5, 17}, {.temperature = 3, .mix = 1}),
      plain("the targets alone", {5, 17}, {.temperature = 3, .mix = 0}),
      plain("a temperature below 1", {5, 9}, {.temperature = 0.5, .mix = 0.75}),
      plain("every third row ignored", {2, 7, 9}, {.temperature = 2, .mix = 0.5}, 3),
      plain("all rows ignored: loss and gradient are 0", {2, 5, 9}, {.temperature = 2, .mix = 0.5}, 1),
      plain("large logits", {9, 11}, {.temperature = 4, .mix = 0.5}, 4, 30),
      plain("V=300, beyond a block of threads", {5, 300}, {.temperature = 2, .mix = 0.25}),
      plain("1300 rows, beyond a task", {1300, 3}, {.temperature = 2, .mix = 0.5}, 7),
      {"logits and teacher are column views",
       {random_tensor({2, 5, 17}, 1), random_tensor({2, 5, 12}, 2), some_targets({2, 5}, 7, 4)},
       [](std::span<const Tensor> in) {
         return std::vector{distillation_loss(columns(in[0], 3, 10), columns(in[1], 2, 9), in[2], {2, 0.5})};
       },
       [](std::span<const Tensor> in) {
         return std::vector{
             mean_loss(in[0].column_view(3, 10).clone(), in[1].column_view(2, 9).clone(), in[2], {2, 0.5})};
       },
       {activation, activation, index}},
  };
  for (OpCase& c : all.cases) c.f32_outputs = {0};  // a loss in bf16 would be useless

  const Tensor x = random_tensor({2, 3, 5}, 1);
  const Tensor targets = random_tokens({2, 3}, 5, 3);
  const auto with_target = [=](int target) {
    const Tensor changed = targets.clone();
    changed.set(4, target);
    return changed;
  };
  all.errors = {
      {"target at V", [=] { distillation_loss(x, x, with_target(5), {}); },
       "distillation_loss: targets must be -1 (ignored) or in [0,5), got 5 at index 4"},
      {"target below -1", [=] { distillation_loss(x, x, with_target(-2), {}); },
       "distillation_loss: targets must be -1 (ignored) or in [0,5), got -2 at index 4"},
      {"transposed targets",
       [=] {
         distillation_loss(x, x, random_tokens({3, 2}, 5, 1), {});
       },
       "distillation_loss: targets must be [2,3], got [3,2]"},
      {"float targets",
       [=] {
         distillation_loss(x, x, random_tensor({2, 3}, 1), {});
       },
       "distillation_loss: targets must be i32, got f64"},
      {"a teacher with other tokens",
       [=] {
         distillation_loss(x, random_tensor({2, 3, 4}, 1), targets, {});
       },
       "distillation_loss: teacher must be [2,3,5], got [2,3,4]"},
      {"a teacher of another type", [=] { distillation_loss(x, x.to(DType::f32), targets, {}); },
       "distillation_loss: teacher must be f64 like the first input, got f32"},
      {"logits are i32", [=] { distillation_loss(targets, x, targets, {}); },
       "distillation_loss: logits must be f64, f32 or bf16, got i32"},
      {"no temperature", [=] { distillation_loss(x, x, targets, {.temperature = 0}); },
       "distillation_loss: temperature must be above 0, got 0"},
      {"mix above 1", [=] { distillation_loss(x, x, targets, {.mix = 1.5}); },
       "distillation_loss: mix must be in [0,1], got 1.5"},
  };
  return all;
}

OpBench distillation_loss_bench() {
  return {.sizes = {{"B", 4, "sequences"}, {"T", 256, "tokens"}, {"V", 8192, "vocabulary"}},
          .counted = "14 operations a logit forward (4 exponentials), 16 backward (6)",
          .make = [](const BenchSizes& s) -> BenchCall {
            const Shape shape{s["B"], s["T"], s["V"]};
            const auto logits = static_cast<double>(shape.numel());
            return {.inputs = {BenchInput::normal(shape), BenchInput::normal(shape),
                               BenchInput::tokens({s["B"], s["T"]}, s["V"])},
                    .run =
                        [](std::span<const Tensor> in) {
                          return std::vector{distillation_loss(in[0], in[1], in[2], {.temperature = 2, .mix = 0.5})};
                        },
                    .forward_operations = 14 * logits,
                    .backward_operations = 16 * logits,
                    .read_again = {0, 1, 2}};
          }};
}

}  // namespace mixgrad::test
