// The tape's promises: what is written, added, shared and freed. Operators' own gradients are in op_gradient_test.cpp.
#include "autograd/tape.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "ops/cases/cases.h"
#include "ops/elementwise/elementwise.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/linear/linear.h"
#include "ops/linear_cross_entropy/linear_cross_entropy.h"
#include "tests/support/close.h"

namespace mixgrad::test {
namespace {

Tensor ones_like(const Tensor& x) { return Tensor::full(x.shape(), x.dtype(), 1); }

// The sum of all elements, as a tracked [1]; x may be a row view.
Tensor sum_of(const Tensor& x) {
  const Tensor rows = linear(x, Tensor::full({1, x.cols()}, x.dtype(), 1)).reshape({1, x.rows()});
  return linear(rows, Tensor::full({1, x.rows()}, x.dtype(), 1)).reshape({1});
}

Tensor plus(const Tensor& a, const Tensor& b) {
  Tensor sum = Tensor::empty(a.shape(), a.dtype());
  for (std::int64_t i = 0; i < a.numel(); ++i) sum.set(i, a.at(i) + b.at(i));
  return sum;
}

Tensor from(const std::vector<double>& values, const Shape& shape) { return Tensor::from(values, shape, DType::f64); }

// Gradients for f64 leaves whose memory is full of NaN, to be written.
Gradients unwritten(const Tape& tape) {
  const std::vector<Shape> shapes = tape.leaf_shapes();
  Gradients gradients(shapes, DType::f64);
  gradients.mark_all_arrived();
  for (std::size_t i = 0; i < shapes.size(); ++i) gradients.of(i).fill(std::numeric_limits<double>::quiet_NaN());
  gradients.clear();
  return gradients;
}

std::string difference(const Tensor& got, const Tensor& want) { return not_close(got, want, 1e-14); }

}  // namespace

TEST_CASE("tape: without one nothing is recorded, and with one only what is tracked") {
  Tensor x = random_tensor({3}, 1);
  CHECK(Tape::current() == nullptr);
  CHECK(silu(x).track().slot == Track::kNone);
  Tape tape;
  CHECK(Tape::current() == &tape);
  CHECK(silu(x).track().slot == Track::kNone);
  CHECK(tape.entries() == 0);
  tape.watch(x);
  CHECK(tracked(x));
  CHECK(tracked(silu(x)));
  CHECK(tape.entries() == 1);
}

TEST_CASE("tape: the gradient of a sum is one, and the second use of a tensor adds") {
  Tensor x = random_tensor({2, 3}, 1);
  {
    Tape tape;
    tape.watch(x);
    const Gradients g = std::move(tape).backward(sum_of(x));
    CHECK(difference(g.of(0), ones_like(x)) == kNothing);
  }
  Tape tape;
  tape.watch(x);
  const Gradients g = std::move(tape).backward(sum_of(add(add(x, x), x)));
  CHECK(difference(g.of(0), Tensor::full({2, 3}, DType::f64, 3)) == kNothing);
}

TEST_CASE("tape: a weight that two layers share gets the sum of both gradients") {
  Tensor w = random_tensor({4, 4}, 1);
  const Tensor x = random_tensor({3, 4}, 2);
  const auto gradient = [&](bool first, bool second) {
    Tape tape;
    const Tensor fixed = w.detach();
    Tensor leaf = w.detach();
    tape.watch(leaf);
    const Tensor y = linear(silu(linear(x, first ? leaf : fixed)), second ? leaf : fixed);
    Gradients g = unwritten(tape);
    std::move(tape).backward(sum_of(y), g);
    return g.of(0).clone();
  };
  CHECK(difference(gradient(true, true), plus(gradient(true, false), gradient(false, true))) == kNothing);
}

TEST_CASE("tape: a loss that is watched itself has the gradient one") {
  Tensor x = random_tensor({1}, 1);
  Tape tape;
  tape.watch(x);
  Gradients g = unwritten(tape);
  std::move(tape).backward(x, g, 0.5);
  CHECK(g.of(0).item() == 0.5);
}

TEST_CASE("tape: the scale multiplies the gradient") {
  Tensor x = random_tensor({5}, 1);
  Tape tape;
  tape.watch(x);
  Gradients g = unwritten(tape);
  std::move(tape).backward(sum_of(x), g, 0.25);
  CHECK(difference(g.of(0), Tensor::full({5}, DType::f64, 0.25)) == kNothing);
}

TEST_CASE("tape: several seeds add up, also two for one tensor and one for a leaf") {
  Tensor x = random_tensor({4}, 1);
  Tape tape;
  tape.watch(x);
  const Tensor y = add(x, x);
  const Tensor z = add(y, x);
  Gradients g = unwritten(tape);
  const Tensor c = ones_like(x);
  const std::vector<Tape::Seed> seeds{{y, c}, {z, c}, {x, c}, {y, c}};
  std::move(tape).backward(seeds, g);
  CHECK(difference(g.of(0), Tensor::full({4}, DType::f64, 2 + 3 + 1 + 2)) == kNothing);
}

TEST_CASE("tape: columns that no view covers have gradient zero") {
  Tensor x = random_tensor({2, 7}, 1);
  for (const bool leaf : {true, false}) {
    Tape tape;
    tape.watch(x);
    const Tensor owner = leaf ? x : add(x, Tensor::zeros(x.shape(), DType::f64));
    const Tensor y = sum_of(add(columns(owner, 1, 3), columns(owner, 4, 6)));
    Gradients g = unwritten(tape);
    std::move(tape).backward(y, g);
    CHECK(difference(g.of(0), from({0, 1, 1, 0, 1, 1, 0, 0, 1, 1, 0, 1, 1, 0}, {2, 7})) == kNothing);
  }
}

TEST_CASE("tape: overlapping views add where they overlap, in any order, beside a use of the whole") {
  const std::vector<std::pair<int, int>> ranges{{0, 3}, {2, 5}, {6, 7}, {1, 7}, {4, 5}, {3, 3}};
  for (std::size_t turn = 0; turn < ranges.size(); ++turn) {
    for (const bool whole : {false, true}) {
      Tensor x = random_tensor({2, 8}, 1);
      Tape tape;
      tape.watch(x);
      std::vector<Tape::Seed> seeds;
      Tensor want = Tensor::full(x.shape(), DType::f64, whole ? 1 : 0);
      for (std::size_t i = 0; i < ranges.size(); ++i) {
        const auto [begin, end] = ranges[(i + turn) % ranges.size()];
        const Tensor y = silu(columns(x, begin, end));  // recorded, so that the order of the tape decides
        const Tensor slope = Tensor::empty(y.shape(), DType::f64);
        for (std::int64_t r = 0; r < 2; ++r) {
          for (int c = begin; c < end; ++c) {
            const double s = 1 / (1 + std::exp(-x.at(r * 8 + c)));
            want.set(r * 8 + c, want.at(r * 8 + c) + s * (1 + x.at(r * 8 + c) * (1 - s)));
          }
        }
        seeds.push_back({y, ones_like(y)});
      }
      if (whole) seeds.push_back({x, ones_like(x)});
      Gradients g = unwritten(tape);
      std::move(tape).backward(seeds, g);
      CHECK(difference(g.of(0), want) == kNothing);
    }
  }
}

TEST_CASE("tape: many scattered views, more than a slot remembers apart") {
  const std::int64_t width = 40;
  for (const std::int64_t step : {1, 3, -1, 7}) {
    Tensor x = random_tensor({3, width}, 1);
    Tape tape;
    tape.watch(x);
    const Tensor inner = add(x, Tensor::zeros(x.shape(), DType::f64));
    std::vector<Tape::Seed> seeds;
    Tensor want = Tensor::zeros(x.shape(), DType::f64);
    for (std::int64_t i = 0; i < 13; ++i) {
      const std::int64_t at = ((i * step % 13 + 13) % 13) * 3;  // every third column, in some order
      const Tensor view = columns(inner, at, at + 1);
      seeds.push_back({view, Tensor::full(view.shape(), DType::f64, static_cast<double>(i + 1))});
      for (std::int64_t r = 0; r < 3; ++r) want.set(r * width + at, static_cast<double>(i + 1));
    }
    Gradients g = unwritten(tape);
    std::move(tape).backward(seeds, g);
    CHECK(difference(g.of(0), want) == kNothing);
  }
}

TEST_CASE("tape: a view of a view, and a reshaped view, put their gradients in the right columns") {
  Tensor x = random_tensor({2, 3, 10}, 1);
  Tape tape;
  tape.watch(x);
  const Tensor view = columns(columns(x, 2, 9), 1, 4);  // columns 3, 4, 5
  const Tensor flat = view.reshape({6, 3});
  CHECK(tracked(flat));
  Gradients g = unwritten(tape);
  std::move(tape).backward(sum_of(silu(flat)), g);
  Tensor again = x.detach();
  Tape second;
  second.watch(again);
  Gradients whole = unwritten(second);
  std::move(second).backward(sum_of(silu(again)), whole);
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    const bool inside = i % 10 >= 3 && i % 10 < 6;
    CHECK(std::abs(g.of(0).at(i) - (inside ? whole.of(0).at(i) : 0)) < 1e-14);
  }
}

TEST_CASE("tape: a gradient that was handed on without a copy is not spoilt by what is added elsewhere") {
  // add() hands dy to both of its inputs. a gets more from silu, b and the seed's own tensor must not see it.
  Tensor x = random_tensor({5}, 1);
  Tensor y = random_tensor({5}, 2);
  const Tensor zero = Tensor::zeros({5}, DType::f64);
  Tape tape;
  tape.watch(x);
  tape.watch(y);
  const Tensor a = add(x, zero);
  const Tensor b = add(y, zero);
  const Tensor other = add(a, zero);  // earlier on the tape: its gradient comes later
  const Tensor s = add(a, b);
  const Tensor cotangent = random_tensor({5}, 3);
  const Tensor before = cotangent.clone();
  const Tensor more = random_tensor({5}, 4);
  Gradients g = unwritten(tape);
  const std::vector<Tape::Seed> seeds{{s, cotangent}, {other, more}};
  std::move(tape).backward(seeds, g);
  CHECK(difference(g.of(0), plus(before, more)) == kNothing);
  CHECK(difference(g.of(1), before) == kNothing);
  CHECK(cotangent.equal_bits(before));
}

TEST_CASE("tape: an output that nothing uses, an entry that the loss does not need, an unused leaf") {
  Tensor x = random_tensor({2, 4}, 1);
  Tensor w = random_tensor({4}, 2);
  Tensor unused = random_tensor({3}, 3);
  Tape tape;
  tape.watch(x);
  tape.watch(w);
  tape.watch(unused);
  const SumAndNorm both = add_layer_norm(x, x, w, Tensor(), 1e-5);
  gelu(both.normed);
  gelu(unused);
  Gradients g = unwritten(tape);
  std::move(tape).backward(sum_of(both.sum), g);
  CHECK(difference(g.of(0), Tensor::full({2, 4}, DType::f64, 2)) == kNothing);
  CHECK(!g.arrived(2));
  const std::string text = error_text<GradError>([&] { static_cast<void>(g.of(2)); });
  CHECK(text ==
        std::string("gradients: no gradient has arrived at leaf 2 [3]; was it used in what the loss depends on?"));
  if (g.arrived(1)) CHECK(difference(g.of(1), Tensor::zeros({4}, DType::f64)) == kNothing);
}

TEST_CASE("tape: without clear() a second backward pass adds, after it it writes") {
  Tensor x = random_tensor({2, 3}, 1);
  const std::vector<Shape> shapes{{2, 3}};
  Gradients g(shapes, DType::f64);
  for (int round = 1; round <= 3; ++round) {
    Tape tape;
    tape.watch(x);
    std::move(tape).backward(sum_of(add(x, x)), g);
    CHECK(difference(g.of(0), Tensor::full({2, 3}, DType::f64, 2 * round)) == kNothing);
  }
  g.clear();
  CHECK(!g.arrived(0));
  Tape tape;
  tape.watch(x);
  std::move(tape).backward(sum_of(x), g);
  CHECK(difference(g.of(0), ones_like(x)) == kNothing);
}

TEST_CASE("tape: accumulation through column views adds to what is there, uncovered columns keep it") {
  Tensor x = random_tensor({2, 5}, 1);
  const std::vector<Shape> shapes{{2, 5}};
  Gradients g(shapes, DType::f64);
  g.mark_all_arrived();
  g.of(0).fill(10);
  Tape tape;
  tape.watch(x);
  std::move(tape).backward(sum_of(columns(x, 1, 3)), g);
  CHECK(difference(g.of(0), from({10, 11, 11, 10, 10, 10, 11, 11, 10, 10}, {2, 5})) == kNothing);
}

TEST_CASE("tape: a leaf that gets nothing this time keeps what it has") {
  Tensor x = random_tensor({2}, 1);
  Tensor y = random_tensor({2}, 2);
  const std::vector<Shape> shapes{{2}, {2}};
  Gradients g(shapes, DType::f64);
  for (const bool use_both : {true, false}) {
    Tape tape;
    tape.watch(x);
    tape.watch(y);
    std::move(tape).backward(sum_of(use_both ? add(x, y) : x), g);
  }
  CHECK(difference(g.of(0), Tensor::full({2}, DType::f64, 2)) == kNothing);
  CHECK(difference(g.of(1), Tensor::full({2}, DType::f64, 1)) == kNothing);
}

TEST_CASE("tape: it can be run once, and records nothing afterwards") {
  Tensor x = random_tensor({3}, 1);
  Tape tape;
  tape.watch(x);
  const Tensor loss = sum_of(x);
  Gradients g = unwritten(tape);
  std::move(tape).backward(loss, g);
  const std::size_t entries = tape.entries();  // NOLINT(bugprone-use-after-move): what a used tape still answers
  CHECK(!tracked(silu(x)));
  CHECK(tape.entries() == entries);
  const Tape::Seed seed{loss, ones_like(loss)};
  const std::string text = error_text<GradError>([&] { std::move(tape).backward(std::span(&seed, 1), g); });
  CHECK(text == std::string("backward: this tape has been run already; record a new one"));
}

TEST_CASE("tape: tapes nest, and each tracks its own tensors only") {
  Tensor x = random_tensor({3}, 1);
  Tensor y = random_tensor({3}, 2);
  Tape outer;
  outer.watch(x);
  const Tensor before = add(x, x);
  {
    Tape inner;
    CHECK(Tape::current() == &inner);
    CHECK(!tracked(x));
    inner.watch(y);
    const Tensor product = add(y, x);
    CHECK(tracked(product));
    CHECK(!tracked(before));
    const Gradients g = std::move(inner).backward(sum_of(product));
    CHECK(difference(g.of(0), ones_like(y)) == kNothing);
  }
  CHECK(Tape::current() == &outer);
  CHECK(!tracked(y));
  CHECK(tracked(before));
  const Gradients g = std::move(outer).backward(sum_of(add(before, y)));
  CHECK(difference(g.of(0), Tensor::full({3}, DType::f64, 2)) == kNothing);
}

TEST_CASE("tape: a tensor of a tape that is gone counts as untracked") {
  Tensor x = random_tensor({3}, 1);
  Tensor y;
  {
    Tape tape;
    tape.watch(x);
    y = silu(x);
  }
  Tape tape;
  CHECK(!tracked(x));
  CHECK(!tracked(y));
  CHECK_NOTHROW(silu(y.clone()));
}

TEST_CASE("tape: from the third round on nothing is asked from the system") {
  Tensor w = random_tensor({16, 16}, 1).to(DType::f32);
  Tensor b = random_tensor({16}, 2).to(DType::f32);
  const Tensor x = random_tensor({4, 9, 16}, 3).to(DType::f32);
  const Tensor targets = random_tokens({4, 9}, 16, 4);
  const std::vector<Shape> shapes{{16, 16}, {16}};
  Gradients g(shapes, DType::f32);
  std::int64_t after_two = 0;
  std::size_t in_use = 0;
  for (int round = 0; round < 6; ++round) {
    {
      Tape tape;
      tape.watch(w);
      tape.watch(b);
      const Tensor h = gelu(linear(x, w, b));
      const Tensor n = add_layer_norm(h, x, b, b, 1e-5).normed;
      g.clear();
      std::move(tape).backward(linear_cross_entropy(add(n, h), w, targets), g);
    }
    const PoolStats stats = pool_stats(kCpu);
    if (round == 1) {
      after_two = stats.system_allocations;
      in_use = stats.in_use;
    }
    if (round > 1) {
      CHECK(stats.system_allocations == after_two);
      CHECK(stats.in_use == in_use);
    }
  }
}

}  // namespace mixgrad::test
