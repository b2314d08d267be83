// nn/analysis/mamba_attention.h against the scan itself: the operator is linear in x, so an impulse at token j is the
// column of its implied attention; and what is left in the state against the plain recurrence.
#include "nn/analysis/mamba_attention.h"

#include <doctest/doctest.h>

#include <cmath>

#include "core/error.h"
#include "ops/cases/cases.h"
#include "ops/selective_scan/selective_scan.h"
#include "tests/support/temp_folder.h"

namespace mixgrad::test {
namespace {

constexpr std::int64_t kTokens = 21, kHeads = 2, kChannels = 6, kStates = 3;

MambaSelection scan_of_random_numbers() {
  const Shape x{1, kTokens, kHeads, kChannels};
  return {.x = random_tensor(x, 1),
          .dt = random_tensor(x, 2),
          .a_log = random_tensor({kHeads, kChannels, kStates}, 3),
          .d = Tensor::zeros({kHeads, kChannels}, DType::f64),
          .b = random_tensor(x.with_last(kStates), 4),
          .c = random_tensor(x.with_last(kStates), 5)};
}

}  // namespace

TEST_CASE("mamba attention: the weights are the answers of the scan to an impulse at each token") {
  const MambaSelection in = scan_of_random_numbers();
  const std::vector<MambaAttention> heads = mamba_attention(in);
  REQUIRE(heads.size() == kHeads);
  for (std::int64_t j = 0; j < kTokens; ++j) {
    Tensor impulse = Tensor::zeros(in.x.shape(), DType::f64);
    for (std::int64_t i = 0; i < kHeads * kChannels; ++i) impulse.set(j * kHeads * kChannels + i, 1);
    const Tensor y = selective_scan(impulse, in.dt, in.a_log, in.b, in.c, in.d, ScanImplementation::sequential);
    for (std::int64_t t = 0; t < kTokens; ++t) {
      for (std::int64_t r = 0; r < kHeads; ++r) {
        double size = 0;
        for (std::int64_t c = 0; c < kChannels; ++c) size += std::abs(y.at((t * kHeads + r) * kChannels + c));
        const MambaAttention& head = heads[static_cast<std::size_t>(r)];
        const double weight = head.weights[static_cast<std::size_t>(t * kTokens + j)];
        const double strength = head.strength[static_cast<std::size_t>(t)];
        CHECK(std::abs(weight * strength * kChannels - size) < 1e-12 * (1 + size));
      }
    }
  }
}

TEST_CASE("mamba attention: what is left in the state, by the plain recurrence; rows of weights sum to 1") {
  const MambaSelection in = scan_of_random_numbers();
  const std::vector<MambaAttention> heads = mamba_attention(in);
  for (std::int64_t r = 0; r < kHeads; ++r) {
    const MambaAttention& head = heads[static_cast<std::size_t>(r)];
    for (std::int64_t j = 0; j < kTokens; ++j) {
      std::vector<double> state(kChannels * kStates, 0.0);
      double written = 0;
      for (std::int64_t t = j; t < kTokens; ++t) {
        double left = 0;
        for (std::int64_t i = 0; i < kChannels * kStates; ++i) {
          const std::int64_t at = (t * kHeads + r) * kChannels + i / kStates;
          const double step = std::log1p(std::exp(in.dt.at(at)));
          double& s = state[static_cast<std::size_t>(i)];
          if (t == j) {
            s = std::abs(step * in.x.at(at) * in.b.at((t * kHeads + r) * kStates + i % kStates));
          } else {
            s *= std::exp(-step * std::exp(in.a_log.at(r * kChannels * kStates + i)));
          }
          left += s;
        }
        if (t == j) written = left;
        CHECK(head.left[static_cast<std::size_t>(t * kTokens + j)] == doctest::Approx(left / written).epsilon(1e-12));
      }
      double sum = 0;
      for (std::int64_t i = 0; i < kTokens; ++i) {
        const double weight = head.weights[static_cast<std::size_t>(j * kTokens + i)];
        sum += weight;
        if (i > j) CHECK(weight == 0);
      }
      CHECK(sum == doctest::Approx(1));
    }
  }
}

TEST_CASE("mamba attention: steps by groups of channels, the smallest first, are means of softplus(dt)") {
  const MambaSelection in = scan_of_random_numbers();
  const MambaAttention head = mamba_attention(in).front();
  REQUIRE(head.groups == 4);
  double last = 0;
  for (std::size_t g = 0; g < 4; ++g) {
    double mean = 0;
    for (std::size_t t = 0; t < kTokens; ++t) mean += head.step[t * 4 + g];
    CHECK(mean >= last);
    last = mean;
  }
  // 6 channels in 4 groups: 1, 2, 1 and 2 of them, so that with these weights the groups make the mean of all.
  for (std::int64_t t = 0; t < kTokens; ++t) {
    double all = 0;
    double kept = 0;
    for (std::int64_t c = 0; c < kChannels; ++c) {
      const double step = std::log1p(std::exp(in.dt.at(t * kHeads * kChannels + c)));
      all += step;
      for (std::int64_t n = 0; n < kStates; ++n) {
        kept += std::exp(-step * std::exp(in.a_log.at(c * kStates + n))) / kStates;
      }
    }
    const double* step = head.step.data() + t * 4;
    const double* keeps = head.kept.data() + t * 4;
    CHECK(step[0] + 2 * step[1] + step[2] + 2 * step[3] == doctest::Approx(all));
    CHECK(keeps[0] + 2 * keeps[1] + keeps[2] + 2 * keeps[3] == doctest::Approx(kept));
  }
}

TEST_CASE("mamba attention: nothing of a layer without Mamba heads; one sequence at a time") {
  CHECK(mamba_attention({}).empty());
  MambaSelection two = scan_of_random_numbers();
  two.x = random_tensor({2, kTokens, kHeads, kChannels}, 1);
  CHECK(error_of<ValueError>([&] { mamba_attention(two); }) ==
        "mamba_attention: one sequence is required, x [1,T,R,di]; got [2,21,2,6]");
}

}  // namespace mixgrad::test
