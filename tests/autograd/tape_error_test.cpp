// The tape's errors, its report, and the Gradients.
#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "autograd/tape.h"
#include "core/error.h"
#include "ops/cases/cases.h"
#include "ops/elementwise/elementwise.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/linear/linear.h"
#include "tests/support/close.h"
#include "tests/support/device.h"

namespace mixgrad::test {
namespace {

const OpSpec kNoGradient{.name = "hard",
                         .formula = "y = x",
                         .gradient = "none",
                         .saves = "nothing",
                         .inputs = 2,
                         .outputs = 1,
                         .differentiable = {1},
                         .roles = {InputRole::activation, InputRole::parameter},
                         .backward = [](BackwardContext&) {}};

Tensor without_gradient(const Tensor& x, const Tensor& w) {
  Tensor y = x.detach().clone();
  if (any_tracked({&x, &w})) record(kNoGradient, {&x, &w}, {&y}, {});
  return y;
}

}  // namespace

TEST_CASE("tape: a refused seed leaves nothing behind") {
  Tensor x = random_tensor({3}, 1);
  Tape tape;
  tape.watch(x);
  const Tensor y = silu(x);
  const Tensor good = Tensor::full({3}, DType::f64, 1.0);
  Gradients gradients(tape.leaf_shapes(), DType::f64);
  const std::vector<Tape::Seed> refused = {{y, good}, {y, Tensor::full({4}, DType::f64, 1.0)}};
  CHECK_THROWS_AS(std::move(tape).backward(refused, gradients), ShapeError);
  const std::vector<Tape::Seed> seeds = {{y, good}};
  std::move(tape).backward(seeds, gradients);  // NOLINT(bugprone-use-after-move): what was refused consumed nothing
  Tensor again = x.detach();
  Tape fresh;
  fresh.watch(again);
  Gradients want(fresh.leaf_shapes(), DType::f64);
  const std::vector<Tape::Seed> once = {{silu(again), good}};
  std::move(fresh).backward(once, want);
  CHECK(gradients.of(0).equal_bits(want.of(0)));
}

TEST_CASE("tape: a cotangent on another device than its output is refused, and leaves nothing behind") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  Tensor x = random_tensor({3}, 1).to(test_device());
  Tape tape;
  tape.watch(x);
  const Tensor y = silu(x);
  const Tensor cotangent = random_tensor({3}, 2);
  Gradients gradients(tape.leaf_shapes(), DType::f64, test_device());
  const std::vector<Tape::Seed> refused = {{y, cotangent}};
  CHECK_THROWS_WITH_AS(std::move(tape).backward(refused, gradients),
                       "backward: the cotangent must be on cuda:0 like the output, got cpu; copy it there first",
                       DeviceError);
  const std::vector<Tape::Seed> seeds = {{y, cotangent.to(test_device())}};
  std::move(tape).backward(seeds, gradients);  // NOLINT(bugprone-use-after-move): what was refused consumed nothing
  CHECK(gradients.of(0).shape() == x.shape());
}

TEST_CASE("tape: a severed view or copy of a tracked tensor throws where it would be recorded") {
  Tensor x = random_tensor({4, 6}, 1);
  Tape tape;
  tape.watch(x);
  const std::string want =
      "record: [4,6] is an untracked view or copy of a tracked tensor, so its gradient would be lost; "
      "use columns() for a tracked view, or detach() to stop the gradient on purpose";
  CHECK(error_text<GradError>([&] { silu(x.clone()); }) == want);
  CHECK_THROWS_AS(silu(x.slice(1, 3)), GradError);
  CHECK_THROWS_AS(silu(x.column_view(1, 3)), GradError);
  CHECK_THROWS_AS(silu(x.to(DType::f32)), GradError);
  CHECK_THROWS_AS(silu(x.slice(1, 3).reshape({12})), GradError);
  CHECK_THROWS_AS(silu(silu(x).slice(0, 1)), GradError);
  CHECK_THROWS_AS(columns(x.slice(0, 2), 0, 1), GradError);
  CHECK_NOTHROW(silu(x.reshape({24})));
  CHECK_NOTHROW(silu(columns(x, 1, 3)));
  CHECK_NOTHROW(silu(x.detach().slice(1, 3)));
  CHECK_NOTHROW(silu(x.slice(1, 3).detach()));
  CHECK(!tracked(silu(x.detach())));
}

TEST_CASE("tape: only contiguous float tensors can be watched") {
  Tape tape;
  Tensor tokens = random_tokens({3}, 5, 1);
  CHECK(error_text<GradError>([&] { tape.watch(tokens); }) ==
        std::string("watch: only float tensors have gradients, got i32 [3]"));
  Tensor view = random_tensor({3, 5}, 1).column_view(0, 2);
  CHECK(error_text<GradError>([&] { tape.watch(view); }) ==
        std::string("watch: a leaf must be contiguous, got a row view [3,2]"));
}

TEST_CASE("tape: a tracked input without a gradient throws") {
  Tensor x = random_tensor({3}, 1);
  Tensor w = random_tensor({3}, 2);
  Tape tape;
  tape.watch(x);
  CHECK(error_text<GradError>([&] { without_gradient(x, w); }) ==
        std::string("hard: input 0 [3] is tracked, but this operator has no gradient for it; detach() it on purpose"));
  tape.watch(w);
  CHECK_NOTHROW(without_gradient(x.detach(), w));
}

TEST_CASE("tape: the loss must be one tracked element") {
  Tensor x = random_tensor({2, 3}, 1);
  Tape tape;
  tape.watch(x);
  const std::vector<Shape> shapes{{2, 3}};
  Gradients g(shapes, DType::f64);
  CHECK(error_text<GradError>([&] { std::move(tape).backward(silu(x), g); }) ==
        std::string("backward: the loss must have one element, got [2,3]"));
  CHECK(error_text<GradError>([&] { std::move(tape).backward(random_tensor({1}, 2), g); }) ==
        std::string("backward: [1] does not depend on any watched tensor of this tape"));
}

TEST_CASE("tape: cotangents and gradients must fit") {
  Tensor x = random_tensor({2, 3}, 1);
  Tape tape;
  tape.watch(x);
  const Tensor y = silu(x);
  const std::vector<Shape> shapes{{2, 3}};
  Gradients g(shapes, DType::f64);
  const auto text = [&](const Tensor& cotangent, Gradients& into) {
    const Tape::Seed seed{y, cotangent};
    return error_text<Error>([&] { std::move(tape).backward(std::span(&seed, 1), into); });
  };
  CHECK(text(random_tensor({3, 2}, 1), g) == std::string("backward: the cotangent must be f64 [2,3], got f64 [3,2]"));
  CHECK(text(random_tensor({2, 3}, 1).to(DType::f32), g) ==
        std::string("backward: the cotangent must be f64 [2,3], got f32 [2,3]"));
  Gradients none(std::span<const Shape>(), DType::f64);
  CHECK(text(random_tensor({2, 3}, 1), none) == std::string("backward: the tape watches leaf 0, the gradients hold 0"));
}

TEST_CASE("tape: a leaf may have an index of its own, for sets of which some are not watched") {
  Tensor x = random_tensor({2, 3}, 1);
  Tensor y = random_tensor({2, 3}, 2);
  const std::vector<Shape> shapes{{4}, {2, 3}, {5}, {2, 3}};
  Gradients g(shapes, DType::f64);
  Tape tape;
  tape.watch(y, 3);
  tape.watch(x, 1);
  const Tensor sum = add(add(x, y), y);
  const Tape::Seed seed{sum, Tensor::full({2, 3}, DType::f64, 1)};
  std::move(tape).backward(std::span(&seed, 1), g);
  CHECK(!g.arrived(0));
  CHECK(!g.arrived(2));
  CHECK(g.of(1).at(5) == 1);
  CHECK(g.of(3).at(5) == 2);
}

TEST_CASE("tape: gradients of another shape or dtype than the leaves are refused before anything runs") {
  const auto refusal = [](const Shape& shape, DType dtype) {
    Tensor x = random_tensor({2, 3}, 1);
    Tape tape;
    tape.watch(x);
    const Tensor y = silu(x);
    const std::vector<Shape> shapes{shape};
    Gradients g(shapes, dtype);
    const Tape::Seed seed{y, random_tensor({2, 3}, 1)};
    return error_text<GradError>([&] { std::move(tape).backward(std::span(&seed, 1), g); });
  };
  CHECK(refusal({2, 4}, DType::f64) == std::string("backward: leaf 0 is f64 [2,3], the gradients hold f64 [2,4]"));
  CHECK(refusal({3, 2}, DType::f64) == std::string("backward: leaf 0 is f64 [2,3], the gradients hold f64 [3,2]"));
  CHECK(refusal({2, 3}, DType::f32) == std::string("backward: leaf 0 is f64 [2,3], the gradients hold f32 [2,3]"));
}

TEST_CASE("tape: after an error in a scope the next tape works") {
  Tensor x = random_tensor({1}, 1);
  try {
    Tape tape;
    tape.watch(x);
    silu(x.clone());
  } catch (const GradError&) {
  }
  CHECK(Tape::current() == nullptr);
  Tape tape;
  tape.watch(x);
  const Gradients g = std::move(tape).backward(add(x, x));
  CHECK(g.of(0).item() == 2);
}

TEST_CASE("tape: bf16 leaves have f32 gradients, and several uses add up") {
  for (const int uses : {1, 2, 3}) {
    CAPTURE(uses);
    Tensor x = Tensor::full({2, 3}, DType::bf16, 1.5);
    Tape tape;
    tape.watch(x);
    Tensor y = add(x, Tensor::zeros({2, 3}, DType::bf16));
    for (int i = 1; i < uses; ++i) y = add(y, x);
    const std::vector<Shape> shapes{{2, 3}};
    Gradients g(shapes, DType::f32);
    const Tape::Seed seed{y, Tensor::full({2, 3}, DType::bf16, 1)};
    const std::string text = error_text<Error>([&] { std::move(tape).backward(std::span(&seed, 1), g); });
    CHECK(text == std::string("(no exception)"));
    if (!g.arrived(0)) continue;
    CHECK(g.of(0).dtype() == DType::f32);
    const std::string difference =
        not_close(g.of(0), Tensor::full({2, 3}, DType::f64, static_cast<double>(uses)), 1e-6);
    CHECK(difference == kNothing);
  }
}

TEST_CASE("tape: two seeds for one bf16 leaf add up") {
  Tensor x = Tensor::full({4}, DType::bf16, 1);
  Tape tape;
  tape.watch(x);
  const std::vector<Shape> shapes{{4}};
  Gradients g(shapes, DType::f32);
  const std::vector<Tape::Seed> seeds{{x, Tensor::full({4}, DType::bf16, 1)}, {x, Tensor::full({4}, DType::bf16, 2)}};
  const std::string text = error_text<Error>([&] { std::move(tape).backward(seeds, g); });
  CHECK(text == std::string("(no exception)"));
  if (g.arrived(0)) CHECK(g.of(0).at(3) == 3);
}

TEST_CASE("tape: it can be listed: operators in order, shapes, what they saved") {
  Tensor x = random_tensor({2, 4}, 1).to(DType::f32);
  Tensor w = random_tensor({3, 4}, 2).to(DType::f32);
  Tape tape;
  tape.watch(x);
  tape.watch(w);
  add(silu(linear(x, w)), Tensor::zeros({2, 3}, DType::f32));
  const std::vector<TapeEntryReport> report = tape.report();
  REQUIRE(report.size() == 3);
  CHECK(report[0].op == std::string("linear"));
  CHECK(report[1].op == std::string("silu"));
  CHECK(report[2].op == std::string("add"));
  REQUIRE(report[0].outputs.size() == 1);
  CHECK(report[0].outputs[0] == Shape({2, 3}));
  CHECK(report[0].saved_bytes == (2 * 4 + 3 * 4) * sizeof(float));
  CHECK(report[1].saved_bytes == 2 * 3 * sizeof(float));
  CHECK(report[2].saved_bytes == 0);
  CHECK(tape.leaf_shapes() == std::vector<Shape>{{2, 4}, {3, 4}});
}

TEST_CASE("tape: the backward pass frees what was saved, and the gradients of what lies between") {
  Tensor x = random_tensor({1, 1000}, 1);
  const Tensor weight = Tensor::full({1, 1000}, DType::f64, 1);
  const std::vector<Shape> shapes{{1, 1000}};
  Gradients g(shapes, DType::f64);
  const std::size_t before = pool_stats(kCpu).in_use;
  Tape tape;
  tape.watch(x);
  Tensor loss;
  {
    Tensor y = x;
    for (int i = 0; i < 10; ++i) y = silu(y);
    loss = linear(y, weight).reshape({1});
  }
  CHECK(pool_stats(kCpu).in_use >= before + 10 * 8000);
  std::move(tape).backward(loss, g);
  CHECK(pool_stats(kCpu).in_use < before + 2 * 8000);
}

TEST_CASE("gradients: they lie in one buffer, in order, 64-byte aligned, zero between") {
  const std::vector<Shape> shapes{{3}, {2, 20}, {}, {0}, {1, 1, 17}};
  const FlatLayout layout(shapes);
  CHECK(layout.offsets == std::vector<std::int64_t>{0, 16, 64, 80, 80});
  CHECK(layout.total == 112);
  for (const DType dtype : {DType::f32, DType::f64}) {
    Gradients g(shapes, dtype);
    g.mark_all_arrived();
    CHECK(g.flat().shape() == Shape({112}));
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      CHECK(g.of(i).shape() == shapes[i]);
      CHECK(g.of(i).shares_memory_with(g.flat()));
      CHECK(reinterpret_cast<std::uintptr_t>(g.of(i).raw()) % 64 == 0);
      g.of(i).fill(static_cast<double>(i + 1));
    }
    for (const int gap : {3, 15, 56, 63, 65, 79, 97, 111}) CHECK(g.flat().at(gap) == 0);
    CHECK(g.flat().at(2) == 1);
    CHECK(g.flat().at(16) == 2);
    CHECK(g.flat().at(64) == 3);
    CHECK(g.flat().at(96) == 5);
  }
}

TEST_CASE("gradients: an index beyond the leaves and a gradient that has not arrived are errors") {
  const std::vector<Shape> shapes{{3}, {2, 2}};
  Gradients g(shapes, DType::f32);
  CHECK(g.size() == 2);
  CHECK(error_text<GradError>([&] { static_cast<void>(g.of(2)); }) ==
        std::string("gradients: there are 2 leaves, got index 2"));
  CHECK(error_text<GradError>([&] { static_cast<void>(g.of(1)); }) ==
        std::string("gradients: no gradient has arrived at leaf 1 [2,2]; was it used in what the loss depends on?"));
  g.mark_all_arrived();
  CHECK(g.arrived(0));
  CHECK_NOTHROW(static_cast<void>(g.of(1)));
  g.clear();
  CHECK(!g.arrived(0));
}

}  // namespace mixgrad::test
