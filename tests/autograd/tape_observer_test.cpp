// What an observer of a tape is told of.
#include "autograd/tape_observer.h"

#include <doctest/doctest.h>

#include <vector>

#include "autograd/tape.h"
#include "ops/cases/cases.h"
#include "ops/elementwise/elementwise.h"
#include "ops/linear/linear.h"
#include "tests/support/close.h"

namespace mixgrad::test {
namespace {

struct Told final : TapeObserver {
  std::vector<const OpSpec*> operators;
  int gradients = 0;
  void output(const TapeEvent& event, int /*k*/, const Tensor& /*value*/) override {
    CHECK(event.entry == operators.size());
    operators.push_back(event.spec);
  }
  void gradient(const TapeEvent& event, int /*input*/, const Tensor& /*gradient*/) override {
    REQUIRE(event.entry < operators.size());
    CHECK(event.spec == operators[event.entry]);
    ++gradients;
  }
};

// The operator at the start has a gradient of its own to lose.
TEST_CASE("tape observer: gradients come with the operators of the tape that gave them") {
  Tensor v = random_tensor({2, 2}, 1);
  Tensor x = random_tensor({2, 7}, 2);
  Told told;
  Tape tape;
  tape.watch(v);
  tape.watch(x);
  const Tensor y = linear(silu(v), add(columns(x, 1, 3), columns(x, 4, 6)));
  const Tape::Seed seed{y, random_tensor(y.shape(), 3)};
  const std::vector<Shape> shapes = tape.leaf_shapes();
  Gradients gradients(shapes, DType::f64);
  std::move(tape).backward(std::span(&seed, 1), gradients);
  CHECK(told.operators.size() == 3);
  CHECK(told.gradients == 5);  // of silu's input, and of both inputs of the sum and of the product
}

}  // namespace
}  // namespace mixgrad::test
