#include "ops/linear_cross_entropy/linear_cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "autograd/tape.h"
#include "ops/cases/cases.h"
#include "ops/linear_cross_entropy/linear_cross_entropy_blocks.h"

namespace mixgrad::test {
namespace {

using enum InputRole;

// The mean over the rows with a target of log sum_v exp(logits[v]) - logits[target]; 0 when there is none.
Tensor mean_loss(const Tensor& x, const Tensor& weight, const Tensor& targets) {
  const std::int64_t vocabulary = weight.dim(0);
  const std::int64_t width = weight.dim(1);
  double sum = 0;
  double count = 0;
  std::vector<double> logits(static_cast<std::size_t>(vocabulary));
  for (std::int64_t r = 0; r < x.rows(); ++r) {
    const auto target = static_cast<std::int64_t>(targets.at(r));
    if (target == -1) continue;
    for (std::int64_t v = 0; v < vocabulary; ++v) {
      double& logit = logits[static_cast<std::size_t>(v)];
      logit = 0;
      for (std::int64_t d = 0; d < width; ++d) logit += x.at(r * width + d) * weight.at(v * width + d);
    }
    const double largest = *std::max_element(logits.begin(), logits.end());
    double total = 0;
    for (const double logit : logits) total += std::exp(logit - largest);
    sum += largest + std::log(total) - logits[static_cast<std::size_t>(target)];
    count += 1;
  }
  return Tensor::full({1}, DType::f64, count == 0 ? 0 : sum / count);
}

Tensor scaled(const Tensor& x, double factor) {
  for (std::int64_t i = 0; i < x.numel(); ++i) x.set(i, x.at(i) * factor);
  return x;
}

std::vector<Tensor> run_it(std::span<const Tensor> in) { return {linear_cross_entropy(in[0], in[1], in[2])}; }
std::vector<Tensor> oracle_it(std::span<const Tensor> in) { return {mean_loss(in[0], in[1], in[2])}; }

// Every `ignored`-th target is -1 (0: none).
Tensor some_targets(const Shape& shape, std::int32_t vocabulary, std::int64_t ignored) {
  Tensor targets = random_tokens(shape, vocabulary, 3);
  for (std::int64_t i = 0; ignored > 0 && i < targets.numel(); i += ignored) targets.set(i, -1);
  return targets;
}

OpCase plain(const std::string& note, const Shape& rows, std::int64_t width, std::int32_t vocabulary,
             std::int64_t ignored = 0, double scale = 1) {
  // [..., D]: the axes of the targets and one more
  const std::int64_t batch = rows[0];
  const Shape x = rows.rank() == 1 ? Shape{batch, width} : Shape{batch, rows[1], width};
  return {note,
          {scaled(random_tensor(x, 1), scale), random_tensor({vocabulary, width}, 2),
           some_targets(rows, vocabulary, ignored)},
          run_it,
          oracle_it};
}

}  // namespace

OpCases linear_cross_entropy_cases() {
  OpCases all;
  all.cases = {
      plain("one row, two tokens", {1}, 1, 2),
      plain("V=1: the loss is 0", {2, 3}, 5, 1),
      plain("T=1", {3, 1}, 7, 5),
      plain("odd sizes", {2, 7}, 17, 33),
      plain("every third row ignored", {2, 7}, 5, 9, 3),
      plain("all rows ignored: loss and gradient are 0", {2, 5}, 7, 9, 1),
      plain("large logits", {9}, 6, 11, 4, 30),
      plain("V=300, beyond a block of the vocabulary", {5}, 3, 300),
      plain("300 rows", {3, 100}, 4, 7, 5),
      plain("700 rows", {700}, 2, 3, 7),
      plain("D=96", {3, 2}, 96, 13),
      {"x is a column view",
       {random_tensor({2, 5, 12}, 1), random_tensor({7, 6}, 2), some_targets({2, 5}, 7, 4)},
       [](std::span<const Tensor> in) { return std::vector{linear_cross_entropy(columns(in[0], 3, 9), in[1], in[2])}; },
       [](std::span<const Tensor> in) { return std::vector{mean_loss(in[0].column_view(3, 9), in[1], in[2])}; },
       {activation, parameter, index}},
      {"x and weight are the same tensor",
       {random_tensor({6, 4}, 1), random_tokens({6}, 6, 2)},
       [](std::span<const Tensor> in) { return std::vector{linear_cross_entropy(in[0], in[0], in[1])}; },
       [](std::span<const Tensor> in) { return std::vector{mean_loss(in[0], in[0], in[1])}; },
       {activation, index}},
  };
  for (OpCase& c : all.cases) c.f32_outputs = {0};  // a loss in bf16 would be useless

  const Tensor x = random_tensor({2, 3, 4}, 1);
  const Tensor weight = random_tensor({5, 4}, 2);
  const Tensor targets = random_tokens({2, 3}, 5, 3);
  const auto with_target = [=](int target) {
    const Tensor changed = targets.clone();
    changed.set(4, target);
    return changed;
  };
  all.errors = {
      {"target at V", [=] { linear_cross_entropy(x, weight, with_target(5)); },
       "linear_cross_entropy: targets must be -1 (ignored) or in [0,5), got 5 at index 4"},
      {"target below -1", [=] { linear_cross_entropy(x, weight, with_target(-2)); },
       "linear_cross_entropy: targets must be -1 (ignored) or in [0,5), got -2 at index 4"},
      {"too few targets", [=] { linear_cross_entropy(x, weight, random_tokens({5}, 5, 1)); },
       "linear_cross_entropy: targets must be [2,3], got [5]"},
      {"transposed targets",
       [=] {
         linear_cross_entropy(x, weight, random_tokens({3, 2}, 5, 1));
       },
       "linear_cross_entropy: targets must be [2,3], got [3,2]"},
      {"float targets",
       [=] {
         linear_cross_entropy(x, weight, random_tensor({2, 3}, 1));
       },
       "linear_cross_entropy: targets must be i32, got f64"},
      {"weight of another width",
       [=] {
         linear_cross_entropy(x, random_tensor({5, 3}, 1), targets);
       },
       "linear_cross_entropy: the last axis of x must be 3 to match weight [5,3], got x [2,3,4]"},
      {"weight is no matrix", [=] { linear_cross_entropy(x, random_tensor({4}, 1), targets); },
       "linear_cross_entropy: weight must be [V,D] (2 axes), got [4]"},
      {"weight is f32", [=] { linear_cross_entropy(x, weight.to(DType::f32), targets); },
       "linear_cross_entropy: weight must be f64 like the first input, got f32"},
      {"x is i32", [=] { linear_cross_entropy(targets, weight, targets); },
       "linear_cross_entropy: x must be f64, f32 or bf16, got i32"},
  };
  all.block_sizes = kLinearCrossEntropyBlocks;
  all.with_size = [](std::string_view axis, std::int64_t size) {
    OpCase c;
    if (axis == "rows") {
      c = plain("", {size}, 2, 3);
    } else if (axis == "vocabulary") {
      c = plain("", {2}, 1, static_cast<std::int32_t>(size));
    } else {
      raise_unknown_axis(axis);
    }
    c.f32_outputs = {0};
    return c;
  };
  return all;
}

OpBench linear_cross_entropy_bench() {
  return {.sizes = {{"B", 4, "sequences"}, {"T", 256, "tokens"}, {"D", 768, "channels"}, {"V", 8192, "vocabulary"}},
          .counted = "2 D V operations a token forward, 4 D V backward; no bytes of logits",
          .make = [](const BenchSizes& s) -> BenchCall {
            const double product = 2.0 * static_cast<double>(s["B"] * s["T"]) * static_cast<double>(s["D"] * s["V"]);
            return {.inputs = {BenchInput::normal({s["B"], s["T"], s["D"]}), BenchInput::normal({s["V"], s["D"]}, 0.02),
                               BenchInput::tokens({s["B"], s["T"]}, s["V"])},
                    .run = run_it,
                    .forward_operations = product,
                    .backward_operations = 2 * product,
                    .read_again = {0, 1, 2}};
          },
          .remark = "On a CUDA device forward computes the gradients too, so only the row \"both\" compares."};
}

}  // namespace mixgrad::test
