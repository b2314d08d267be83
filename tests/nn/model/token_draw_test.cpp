// Tokens drawn on a CUDA device are those that sample_token() draws on the host.
#include "nn/model/token_draw.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "ops/cases/cases.h"
#include "tests/support/device.h"

#if defined(MIXGRAD_CUDA)

namespace mixgrad::test {
namespace {

constexpr double kInfiniteLogit = std::numeric_limits<double>::infinity();

std::vector<double> row_of(const Tensor& logits, std::int64_t row, std::int64_t vocabulary) {
  std::vector<double> values;
  for (std::int64_t v = 0; v < vocabulary; ++v) values.push_back(logits.at(row * logits.cols() + v));
  return values;
}

std::vector<SamplingOptions> ways() {
  return {{.temperature = 0},
          {},
          {.temperature = 0.7, .top_k = 5},
          {.temperature = 1.3, .top_p = 0.9},
          {.temperature = 0.9, .top_k = 40, .top_p = 0.5},
          {.temperature = 1e-3},
          {.temperature = 2, .top_k = 1000000, .top_p = 1e-6},
          {.temperature = 1.5, .min_p = 0.2},
          {.temperature = 1, .min_p = 1},
          {.temperature = 2, .top_k = 30, .top_p = 0.9, .min_p = 0.05}};
}

}  // namespace

TEST_CASE("token draw: the tokens of sample_token, for small and large vocabularies and every way of sampling") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  struct Sizes {
    std::int64_t batch, vocab_size, vocabulary;
  };
  for (const Sizes& s :
       std::vector<Sizes>{{1, 1, 1}, {3, 65, 65}, {2, 300, 257}, {70, 128, 100}, {1, 2048, 2048}, {2, 50304, 50257}}) {
    CAPTURE(s.vocab_size);
    const auto draw = cuda::make_token_draw(s.batch, test_device());
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      // In bf16 many logits are equal: of those the one with the lower id comes first.
      const Tensor logits = random_tensor({s.batch, 1, s.vocab_size}, 3).to(dtype);
      const Tensor there = logits.to(test_device());
      for (const SamplingOptions& options : ways()) {
        Rng rng(7);
        Rng host(7);
        for (int repeat = 0; repeat < 3; ++repeat) {
          std::vector<double> uniforms;
          for (std::int64_t b = 0; b < s.batch && options.temperature > 0; ++b) uniforms.push_back(rng.uniform());
          draw->draw(there, s.vocabulary, options, uniforms);
          const auto drawn = draw->wait();
          REQUIRE(drawn.size() == static_cast<std::size_t>(s.batch));
          for (std::int64_t b = 0; b < s.batch; ++b) {
            CHECK(drawn[static_cast<std::size_t>(b)].finite == 1);
            CHECK(drawn[static_cast<std::size_t>(b)].id ==
                  sample_token(row_of(logits, b, s.vocabulary), options, host));
          }
        }
      }
    }
  }
}

TEST_CASE("token draw: the first logit that is not finite is named, and one beyond the vocabulary does not matter") {
  if (!test_device().is_cuda()) {
    MESSAGE("runs with MIXGRAD_DEVICE=cuda");
    return;
  }
  const auto draw = cuda::make_token_draw(2, test_device());
  for (const std::int64_t vocab_size : {100, 5000}) {
    for (const double bad : {std::nan(""), kInfiniteLogit, -kInfiniteLogit}) {
      const Tensor logits = random_tensor({2, 1, vocab_size}, 3).to(DType::f32);
      logits.set(vocab_size - 1, bad);   // row 0, beyond the vocabulary
      logits.set(vocab_size + 37, bad);  // row 1
      logits.set(vocab_size + 60, kInfiniteLogit);
      for (const SamplingOptions& options : ways()) {
        draw->draw(logits.to(test_device()), vocab_size - 1, options, std::vector<double>{0.5, 0.5});
        const auto drawn = draw->wait();
        CHECK(drawn[0].finite == 1);
        CHECK(drawn[1].finite == 0);
        CHECK((std::isnan(bad) ? std::isnan(drawn[1].logit) : drawn[1].logit == bad));
      }
    }
  }
}

}  // namespace mixgrad::test

#endif  // MIXGRAD_CUDA
