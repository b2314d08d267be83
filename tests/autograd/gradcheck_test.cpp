// The gradient check must reject what is wrong. Operators with each kind of mistake in their backward pass are made up
// here; the real ones are in op_gradient_test.cpp.
#include "autograd/gradcheck.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "autograd/tape.h"
#include "core/error.h"
#include "ops/cases/cases.h"
#include "ops/elementwise/elementwise.h"
#include "ops/embedding/embedding.h"
#include "ops/linear/linear.h"
#include "tests/support/close.h"

namespace mixgrad::test {
namespace {

enum class Mistake {
  none,
  factor,         // 0.01 % too large
  one_element,    // the last element 0.1 % of the largest off
  one_row,        // the second row likewise
  always_writes,  // ignores `add`
  always_adds,    // reads what it should write
  leaves_a_hole,  // does not write the first element
  zero,           // no gradient at all
  writes_behind,  // beyond the end of the memory
};

struct SquareAttributes {
  Mistake mistake;
};

// y = x^2, dx = 2 x dy, spoilt.
void square_gradient(BackwardContext& context) {
  const Mistake mistake = context.attributes<SquareAttributes>().mistake;
  const Tensor& x = context.saved(0);
  const Tensor& dy = context.output_gradient();
  const GradTarget dx = context.gradient(0, x.shape());
  double largest = 0;
  for (std::int64_t i = 0; i < x.numel(); ++i) largest = std::max(largest, std::abs(2 * x.at(i) * dy.at(i)));
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    double value = 2 * x.at(i) * dy.at(i);
    if (mistake == Mistake::factor) value *= 1.0001;
    if (mistake == Mistake::one_element && i == x.numel() - 1) value += 1e-3 * largest;
    if (mistake == Mistake::one_row && i / x.cols() == 1) value += 1e-3 * largest;
    if (mistake == Mistake::zero) value = 0;
    if (mistake == Mistake::leaves_a_hole && i == 0 && !dx.add) continue;
    const bool add = mistake == Mistake::always_adds || (dx.add && mistake != Mistake::always_writes);
    dx.tensor.set(i, add ? dx.tensor.at(i) + value : value);
  }
  if (mistake == Mistake::writes_behind) dx.tensor.data<double>()[x.numel()] = 1;
}

const OpSpec kSquare{.name = "square",
                     .formula = "y = x^2",
                     .gradient = "dx = 2 x dy",
                     .saves = "x",
                     .inputs = 1,
                     .outputs = 1,
                     .differentiable = {0},
                     .roles = {InputRole::activation},
                     .backward = square_gradient};

Tensor square(const Tensor& x, Mistake mistake) {
  Tensor y = Tensor::empty(x.shape(), x.dtype());
  for (std::int64_t i = 0; i < x.numel(); ++i) y.set(i, x.at(i) * x.at(i));
  if (any_tracked({&x})) record(kSquare, {&x}, {&y}, {&x}, SquareAttributes{mistake});
  return y;
}

// y = softmax of each row, with dx = y dy instead of y (dy - <y, dy>): right only when dy is the same everywhere ...
// and then both are wrong together, since the true gradient is zero.
struct SoftmaxAttributes {
  bool forgets_the_mean;
};

void softmax_gradient(BackwardContext& context) {
  const Tensor& y = context.saved(0);
  const Tensor& dy = context.output_gradient();
  const GradTarget dx = context.gradient(0, y.shape());
  for (std::int64_t r = 0; r < y.rows(); ++r) {
    double mean = 0;
    double sum = 0;
    for (std::int64_t c = 0; c < y.cols(); ++c) {
      mean += y.at(r * y.cols() + c) * dy.at(r * y.cols() + c);
      sum += dy.at(r * y.cols() + c) / static_cast<double>(y.cols());
    }
    if (context.attributes<SoftmaxAttributes>().forgets_the_mean) mean = sum;
    for (std::int64_t i = r * y.cols(); i < (r + 1) * y.cols(); ++i) {
      dx.tensor.set(i, (dx.add ? dx.tensor.at(i) : 0) + y.at(i) * (dy.at(i) - mean));
    }
  }
}

const OpSpec kSoftmax{.name = "softmax",
                      .formula = "y = exp(x) / sum exp(x)",
                      .gradient = "dx = y (dy - <y,dy>)",
                      .saves = "y",
                      .inputs = 1,
                      .outputs = 1,
                      .differentiable = {0},
                      .roles = {InputRole::activation},
                      .backward = softmax_gradient};

Tensor softmax(const Tensor& x, bool forgets_the_mean) {
  Tensor y = Tensor::empty(x.shape(), x.dtype());
  for (std::int64_t r = 0; r < x.rows(); ++r) {
    double sum = 0;
    for (std::int64_t c = 0; c < x.cols(); ++c) sum += std::exp(x.at(r * x.cols() + c));
    for (std::int64_t i = r * x.cols(); i < (r + 1) * x.cols(); ++i) y.set(i, std::exp(x.at(i)) / sum);
  }
  if (any_tracked({&x})) record(kSoftmax, {&x}, {&y}, {&y}, SoftmaxAttributes{forgets_the_mean});
  return y;
}

GradcheckReport check_square(Mistake mistake) {
  const std::vector<Tensor> inputs{random_tensor({3, 5}, 1)};
  return gradcheck(inputs, [=](std::span<const Tensor> in) { return std::vector{square(in[0], mistake)}; });
}

bool says(const GradcheckReport& report, const std::string& words) {
  return report.failures().find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("gradcheck: a right gradient passes, and its sabotage is caught") {
  const GradcheckReport report = check_square(Mistake::none);
  CHECK(report.failures() == kNothing);
  REQUIRE(report.rows.size() == 1);
  CHECK(report.rows[0].pass);
  CHECK(report.rows[0].sabotage_caught);
  CHECK(!report.rows[0].vacuous);
  CHECK(report.rows[0].max_rel_error < 1e-9);
  CHECK(report.rows[0].accumulation_error < 1e-15);
  CHECK(report.worst == report.rows[0].max_rel_error);
}

TEST_CASE("gradcheck: every kind of mistake is found and named") {
  CHECK(says(check_square(Mistake::factor), "the gradient of element"));
  CHECK(says(check_square(Mistake::one_element), "the gradient of element 14"));
  CHECK(says(check_square(Mistake::one_row), "the gradient of element"));
  CHECK(says(check_square(Mistake::zero), "the gradient of element"));
  CHECK(says(check_square(Mistake::always_writes), "noise + gradient"));
  CHECK(!says(check_square(Mistake::always_writes), "the gradient of element"));
  CHECK(says(check_square(Mistake::always_adds), "the gradient of element 0 is nan"));
  CHECK(says(check_square(Mistake::leaves_a_hole), "the gradient of element 0 is nan"));
  CHECK(says(check_square(Mistake::writes_behind), "behind the memory"));
  for (const Mistake mistake : {Mistake::factor, Mistake::zero, Mistake::always_writes, Mistake::writes_behind}) {
    CHECK(!check_square(mistake).pass);
  }
}

TEST_CASE("gradcheck: a softmax whose backward is right for cotangents of ones only is found") {
  const std::vector<Tensor> inputs{random_tensor({3, 5}, 1)};
  const auto run = [](bool wrong) {
    return [=](std::span<const Tensor> in) { return std::vector{softmax(in[0], wrong)}; };
  };
  CHECK(gradcheck(inputs, run(false)).pass);
  CHECK(!gradcheck(inputs, run(true)).pass);
  CHECK(gradcheck_direction(inputs, run(false)).pass);
  CHECK(!gradcheck_direction(inputs, run(true)).pass);
}

TEST_CASE("gradcheck: each output is checked alone, too") {
  const std::vector<Tensor> inputs{random_tensor({4}, 1), random_tensor({4}, 2)};
  const GradcheckReport report = gradcheck(inputs, [](std::span<const Tensor> in) {
    return std::vector{square(in[0], Mistake::none), add(in[0], square(in[1], Mistake::factor))};
  });
  REQUIRE(report.rows.size() == 6);
  CHECK(report.rows[0].output == std::string("all"));
  CHECK(report.rows[2].output == std::string("output 0"));
  CHECK(report.rows[5].output == std::string("output 1"));
  CHECK(report.rows[0].pass);
  CHECK(!report.rows[1].pass);
  CHECK(report.rows[2].pass);
  CHECK(report.rows[3].pass);  // output 0 does not depend on input 1
  CHECK(report.rows[3].vacuous);
  CHECK(report.rows[4].pass);
  CHECK(!report.rows[5].pass);
}

TEST_CASE("gradcheck: a gradient that is zero everywhere is reported as vacuous") {
  const std::vector<Tensor> inputs{random_tensor({4}, 1), random_tensor({2, 2}, 2)};
  const GradcheckReport report =
      gradcheck(inputs, [](std::span<const Tensor> in) { return std::vector{square(in[0], Mistake::none)}; });
  REQUIRE(report.rows.size() == 2);
  CHECK(report.pass);
  CHECK(!report.rows[0].vacuous);
  CHECK(report.rows[1].vacuous);
  CHECK(!report.rows[1].sabotage_caught);
}

TEST_CASE("gradcheck: a gradient that is cut off by detach is found") {
  const std::vector<Tensor> inputs{random_tensor({4}, 1)};
  const auto run = [](std::span<const Tensor> in) { return std::vector{add(in[0], silu(in[0].detach()))}; };
  CHECK(!gradcheck(inputs, run).pass);
  const auto nothing_tracked = [](std::span<const Tensor> in) { return std::vector{silu(in[0].detach())}; };
  CHECK(!gradcheck(inputs, nothing_tracked).pass);
  CHECK(!gradcheck_direction(inputs, nothing_tracked).pass);
}

TEST_CASE("gradcheck: outputs that differ when they are recorded are reported") {
  const std::vector<Tensor> inputs{random_tensor({4}, 1)};
  const GradcheckReport report = gradcheck(
      inputs, [](std::span<const Tensor> in) { return std::vector{tracked(in[0]) ? silu(in[0]) : gelu(in[0])}; });
  CHECK(says(report, "recorded"));
}

TEST_CASE("gradcheck: an output that is an input itself") {
  const std::vector<Tensor> inputs{random_tensor({2, 6}, 1)};
  const GradcheckReport report = gradcheck(inputs, [](std::span<const Tensor> in) {
    return std::vector{in[0], columns(in[0], 1, 4), silu(in[0])};
  });
  CHECK(report.failures() == kNothing);
}

TEST_CASE("gradcheck: tokens and absent inputs are left alone, names are used, a mask leaves inputs out") {
  const std::vector<Tensor> inputs{random_tokens({2, 3}, 5, 1), random_tensor({5, 4}, 2), Tensor(),
                                   random_tensor({3, 4}, 3)};
  const auto run = [](std::span<const Tensor> in) {
    REQUIRE(!in[2].defined());
    return std::vector{embedding(in[0], in[1]), linear(in[3], in[1])};
  };
  const GradcheckReport report = gradcheck(inputs, run, {.names = {"tokens", "table"}});
  CHECK(report.failures() == kNothing);
  REQUIRE(report.rows.size() == 6);
  CHECK(report.rows[0].input == std::string("table"));
  CHECK(report.rows[1].input == std::string("input 3"));
  const GradcheckReport masked = gradcheck(inputs, run, {.differentiable = 0b1000});
  REQUIRE(masked.rows.size() == 3);
  CHECK(masked.rows[0].input == std::string("input 3"));
}

TEST_CASE("gradcheck: the inputs keep their values and stay untracked") {
  const std::vector<Tensor> inputs{random_tensor({7}, 1)};
  const Tensor before = inputs[0].clone();
  gradcheck(inputs, [](std::span<const Tensor> in) { return std::vector{silu(in[0])}; });
  gradcheck_direction(inputs, [](std::span<const Tensor> in) { return std::vector{silu(in[0])}; });
  CHECK(inputs[0].equal_bits(before));
  CHECK(inputs[0].track().slot == Track::kNone);
}

TEST_CASE("gradcheck: inputs that are not f64 are refused") {
  const std::vector<Tensor> inputs{random_tensor({2, 3}, 1), random_tensor({7}, 1).to(DType::f32)};
  const std::string text =
      error_text<ValueError>([&] { gradcheck(inputs, [](std::span<const Tensor> in) { return std::vector{in[0]}; }); });
  CHECK(text ==
        std::string("gradcheck: inputs must be f64 or i32, got f32 [7] for input 1; convert it with to(DType::f64)"));
}

TEST_CASE("gradcheck_direction: a small network passes at 1e-8, with one row for each direction and each input") {
  const std::vector<Tensor> inputs{random_tensor({33, 9}, 1), random_tensor({65, 9}, 2), random_tensor({65}, 3),
                                   random_tensor({4, 65}, 4)};
  const auto run = [](std::span<const Tensor> in) {
    return std::vector{linear(gelu(linear(in[0], in[1], in[2])), in[3])};
  };
  const GradcheckReport report = gradcheck_direction(inputs, run);
  CHECK(report.failures() == kNothing);
  CHECK(report.rows.size() == 7);
  CHECK(report.worst < 1e-9);
  for (const GradcheckRow& row : report.rows) CHECK(row.sabotage_caught);
}

TEST_CASE("gradcheck_direction: kinks within the larger steps do no harm") {
  std::vector<double> values;
  for (int i = 0; i < 100; ++i) values.push_back((i % 2 == 0 ? 1 : -1) * (0.002 + 0.01 * i));  // steps reach 0.03
  const std::vector<Tensor> inputs{Tensor::from(values, {100}, DType::f64)};
  const GradcheckReport report =
      gradcheck_direction(inputs, [](std::span<const Tensor> in) { return std::vector{relu(in[0])}; });
  CHECK(report.failures() == kNothing);
}

TEST_CASE("gradcheck_direction: small steps that agree by chance, in rounded values, do no harm") {
  const std::vector<Tensor> inputs{random_tensor({4}, 1)};
  const Tensor large = Tensor::full({4}, DType::f64, 1e6);
  const GradcheckReport report =
      gradcheck_direction(inputs, [&](std::span<const Tensor> in) { return std::vector{add(silu(in[0]), large)}; },
                          {.tolerance = 1e-6, .directions = 100});
  CHECK(report.pass);
}

TEST_CASE("gradcheck_direction: mistakes are found") {
  const std::vector<Tensor> inputs{random_tensor({30, 50}, 1)};
  for (const Mistake mistake : {Mistake::factor, Mistake::one_element, Mistake::one_row, Mistake::zero,
                                Mistake::always_adds, Mistake::leaves_a_hole}) {
    const GradcheckReport report =
        gradcheck_direction(inputs, [=](std::span<const Tensor> in) { return std::vector{square(in[0], mistake)}; });
    CHECK(!report.pass);
  }
}

}  // namespace mixgrad::test
