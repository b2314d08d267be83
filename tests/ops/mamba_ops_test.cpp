// The forms of causal_conv and selective_scan for inference: pieces of a sequence must give what the whole gives.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "core/error.h"
#include "ops/cases/cases.h"
#include "ops/causal_conv/causal_conv.h"
#include "ops/elementwise/functions.h"
#include "ops/selective_scan/selective_scan.h"
#include "tests/support/close.h"
#include "tests/support/device.h"
#include "tests/support/steps.h"

namespace mixgrad::test {
namespace {

struct Precision {
  DType dtype;
  double tolerance;
};
const std::vector<Precision> kPrecisions{{DType::f64, 1e-13}, {DType::f32, 1e-5}, {DType::bf16, 2e-2}};
const std::vector<std::vector<std::int64_t>> kPieces{{40}, {1, 1, 1, 37}, {16, 16, 8}, {15, 2, 23}, {3, 33, 4}};

struct ScanCase {
  Tensor x, dt, a_log, b, c, d;

  ScanCase(DType dtype, std::int64_t channels)
      : x(random_tensor({2, 40, 2, channels}, 1).to(dtype)),
        dt(random_tensor({2, 40, 2, channels}, 2).to(dtype)),
        a_log(random_tensor({2, channels, 3}, 3).to(dtype)),
        b(random_tensor({2, 40, 2, 3}, 4).to(dtype)),
        c(random_tensor({2, 40, 2, 3}, 5).to(dtype)),
        d(random_tensor({2, channels}, 6).to(dtype)) {}
  Tensor cached(std::int64_t begin, std::int64_t end, const Tensor& state, ScanImplementation implementation) const {
    const auto part = [&](const Tensor& whole) { return steps_of(whole, begin, end); };
    return selective_scan_cached(part(x), part(dt), a_log, part(b), part(c), d, state, implementation);
  }
};

}  // namespace

TEST_CASE("causal_conv: of no token or no sequence the parameters' gradients are 0, and what is kept stays") {
  for (const std::int64_t channels : {4, 5}) {  // on CUDA by stretches of time, and element by element
    for (const Shape& shape : {Shape{2, 0, 2, channels}, Shape{0, 3, 2, channels}}) {
      const Tensor x = Tensor::empty(shape, DType::f32, test_device());
      const Tensor history = random_tensor({shape[0], 3, 2, channels}, 4).to(DType::f32).to(test_device());
      Tensor weight = random_tensor({2, channels, 4}, 2).to(DType::f32).to(test_device());
      Tensor bias = random_tensor({2, channels}, 3).to(DType::f32).to(test_device());
      const Tensor before = history.clone();
      CHECK(causal_conv_cached(x, weight, bias, history).shape() == shape);
      CHECK(history.equal_bits(before));
      Gradients gradients(std::vector{weight.shape(), bias.shape()}, DType::f32, test_device());
      Tape tape;
      tape.watch(weight);
      tape.watch(bias);
      const Tensor y = causal_conv(x, weight, bias);
      CHECK(y.shape() == shape);
      const std::vector<Tape::Seed> seeds{{y, Tensor::empty(shape, DType::f32, test_device())}};
      std::move(tape).backward(seeds, gradients);
      for (const std::size_t leaf : {0, 1}) {
        const Tensor gradient = gradients.of(leaf).to(kCpu);
        for (std::int64_t i = 0; i < gradient.numel(); ++i) CHECK(gradient.at(i) == 0);
      }
    }
  }
}

TEST_CASE("selective_scan_cached: pieces of a sequence give what the whole gives, and the same state at the end") {
  for (const auto& [dtype, tolerance] : kPrecisions) {
    const DType state_dtype = accumulation_dtype(dtype);
    for (const std::int64_t channels : {5, 67}) {
      const ScanCase c(dtype, channels);
      const Tensor want = selective_scan(c.x, c.dt, c.a_log, c.b, c.c, c.d);
      for (const ScanImplementation implementation : {ScanImplementation::chunked, ScanImplementation::sequential}) {
        const Tensor end = Tensor::zeros({2, 2, 3, channels}, state_dtype);
        c.cached(0, 40, end, implementation);
        for (const auto& pieces : kPieces) {
          const Tensor state = Tensor::zeros({2, 2, 3, channels}, state_dtype);
          std::int64_t at = 0;
          for (const std::int64_t piece : pieces) {
            const std::string text =
                not_close(c.cached(at, at + piece, state, implementation), steps_of(want, at, at + piece), tolerance);
            CHECK(text == kNothing);
            at += piece;
          }
          const std::string text = not_close(state, end, dtype == DType::f64 ? 1e-13 : 1e-5);
          CHECK(text == kNothing);
        }
      }
    }
  }
}

TEST_CASE("selective_scan: after 4,000 tokens with decays near one the f32 state is still that of f64") {
  const auto last = [](DType dtype) {
    const Tensor ones = Tensor::full({1, 4000, 1, 1}, dtype, 1);
    const Tensor dt = Tensor::full({1, 4000, 1, 1}, dtype, -9);
    const Tensor a_log = Tensor::zeros({1, 1, 1}, dtype);
    const Tensor d = Tensor::zeros({1, 1}, dtype);
    return selective_scan(ones, dt, a_log, ones, ones, d).at(3999);
  };
  // A decay of 1 - 1.2e-4 is rounded to f32 by up to 3e-8, which 4,000 tokens make up to 1.2e-4.
  CHECK(std::abs(last(DType::f32) / last(DType::f64) - 1) < 1e-4);
}

TEST_CASE("selective_scan: what is not a number spreads from where it is, and no further back") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const DType dtype : {DType::f64, DType::f32}) {
    for (int input = 0; input < 5; ++input) {
      const ScanCase c(dtype, 5);
      const Tensor& spoilt = input == 0 ? c.x : input == 1 ? c.dt : input == 2 ? c.b : input == 3 ? c.c : c.a_log;
      spoilt.set(input == 4 ? 0 : 20 * spoilt.dim(2) * spoilt.dim(3), nan);
      const Tensor y = selective_scan(c.x, c.dt, c.a_log, c.b, c.c, c.d);
      CHECK(std::isnan(y.at(20 * 2 * 5)));
      if (input != 4) CHECK_FALSE(std::isnan(y.at(19 * 2 * 5)));
      CHECK_FALSE(std::isnan(y.at(40 * 2 * 5 + 20 * 2 * 5 + 5)));
    }
  }
}

TEST_CASE("causal_conv_cached: pieces of a sequence give what the whole gives") {
  for (const auto& [dtype, tolerance] : kPrecisions) {
    for (const std::int64_t taps : {1, 2, 4, 7}) {
      const Tensor x = random_tensor({2, 40, 2, 5}, 1).to(dtype);
      const DType precise = accumulation_dtype(dtype);
      const Tensor weight = random_tensor({2, 5, taps}, 2).to(precise);
      const Tensor bias = random_tensor({2, 5}, 3).to(precise);
      const Tensor want = causal_conv(x, weight, bias);
      for (const auto& pieces : kPieces) {
        const Tensor history = Tensor::zeros({2, taps - 1, 2, 5}, dtype);
        std::int64_t at = 0;
        for (const std::int64_t piece : pieces) {
          const Tensor got = causal_conv_cached(steps_of(x, at, at + piece), weight, bias, history);
          const std::string text = not_close(got, steps_of(want, at, at + piece), tolerance);
          CHECK(text == kNothing);
          at += piece;
        }
        CHECK(history.equal_bits(steps_of(x, 41 - taps, 40)));
      }
    }
  }
}

TEST_CASE("causal_conv_cached, selective_scan_cached: tracked inputs and states that do not fit are errors") {
  const ScanCase c(DType::f64, 5);
  const Tensor weight = random_tensor({2, 5, 4}, 2);
  const Tensor history = Tensor::zeros({2, 3, 2, 5}, DType::f64);
  const Tensor state = Tensor::zeros({2, 2, 3, 5}, DType::f64);
  const auto text = [](const auto& call) { return error_text<Error>(call); };
  CHECK(text([&] {
          causal_conv_cached(c.x, weight, c.d, Tensor::zeros({2, 4, 2, 5}, DType::f64));
        }) == std::string("causal_conv_cached: history must be [2,3,2,5], got [2,4,2,5]"));
  CHECK(text([&] { causal_conv_cached(c.x, weight, c.d, history.to(DType::f32)); }) ==
        std::string("causal_conv_cached: history must be f64 like the first input, got f32"));
  const auto scan = [&](const Tensor& x, const Tensor& s) {
    return text([&] { selective_scan_cached(x, c.dt, c.a_log, c.b, c.c, c.d, s); });
  };
  CHECK(scan(c.x, Tensor::zeros({2, 2, 5, 3}, DType::f64)) ==
        "selective_scan_cached: state must be [2,2,3,5], got [2,2,5,3]");
  CHECK(scan(c.x, state.to(DType::f32)) == "selective_scan_cached: state must be f64 for f64 inputs, got f32");
  CHECK(scan(c.x, Tensor()) == "selective_scan_cached: state is required, got an undefined tensor");
  Tape tape;
  Tensor x = c.x;
  tape.watch(x);
  CHECK(scan(x, state) == "selective_scan_cached: is not differentiable, but x [2,40,2,5] is tracked; detach() it");
  CHECK(text([&] { causal_conv_cached(x, weight, c.d, history); }) ==
        std::string("causal_conv_cached: is not differentiable, but x [2,40,2,5] is tracked; detach() it"));
}

TEST_CASE("softplus in f32 has the relative precision of f32 everywhere, and is linear above 20") {
  double worst = 0;
  for (double x = -80; x <= 25; x += 0.0137) {
    const float rounded = static_cast<float>(x);
    const double want = rounded > 20 ? rounded : std::log1p(std::exp(static_cast<double>(rounded)));
    worst = std::max(worst, std::abs(static_cast<double>(functions::Softplus::f(rounded)) / want - 1));
  }
  CHECK(worst < 5e-7);
  CHECK(functions::Softplus::f(20.5) == 20.5);
  CHECK(functions::Softplus::df(20.5) == 1);
  CHECK(functions::Softplus::f(1e30F) == 1e30F);
  CHECK(std::isnan(functions::Softplus::f(std::numeric_limits<float>::quiet_NaN())));
}

}  // namespace mixgrad::test
