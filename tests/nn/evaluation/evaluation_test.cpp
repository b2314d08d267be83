// nn/evaluation against loops over one sequence at a time.
#include <doctest/doctest.h>

#include <cmath>

#include "core/error.h"
#include "nn/evaluation/likelihood.h"
#include "nn/evaluation/target_losses.h"
#include "nn/evaluation/token_losses.h"
#include "nn/tokenizers/ids_tokenizer.h"
#include "tests/support/close.h"
#include "tests/support/model_forms.h"

namespace mixgrad::test {
namespace {

using EvalIds = std::vector<std::int32_t>;
constexpr std::int64_t kSmallContext = 8;

std::unique_ptr<Decoder> small_decoder(Positions positions,
                                       const std::string& pattern = "attention,hsm:vector(heads=4)") {
  ModelConfig config = decoder_config(pattern, positions, Norm::rmsnorm, Mlp::swiglu, true, true);
  config.context = kSmallContext;
  return make_decoder(config, DType::f64);
}

EvalIds some_ids(std::int64_t count, std::uint64_t seed) {
  Rng rng(seed);
  EvalIds ids;
  for (std::int64_t i = 0; i < count; ++i) ids.push_back(static_cast<std::int32_t>(rng.below(kVocabulary)));
  return ids;
}

// -log P(ids[at] | ids[begin, at)), by a softmax in plain loops over the logits of that prefix alone.
double loss_by_hand(const Decoder& model, const EvalIds& ids, std::size_t begin, std::size_t at, std::int64_t window) {
  const auto length = static_cast<std::int64_t>(at - begin);
  const Tensor logits = model.logits(Tensor::from_i32(std::span(ids).subspan(begin, at - begin), {1, length}), window);
  double total = 0;
  for (std::int64_t v = 0; v < kVocabulary; ++v) total += std::exp(logits.at((length - 1) * kVocabulary + v));
  return std::log(total) - logits.at((length - 1) * kVocabulary + ids[at]);
}

bool likeliest_by_hand(const Decoder& model, const EvalIds& ids, std::size_t at, std::int64_t window) {
  const auto length = static_cast<std::int64_t>(at);
  const Tensor logits = model.logits(Tensor::from_i32(std::span(ids).first(at), {1, length}), window);
  std::int32_t best = 0;
  for (std::int32_t v = 1; v < kVocabulary; ++v) {
    if (logits.at((length - 1) * kVocabulary + v) > logits.at((length - 1) * kVocabulary + best)) best = v;
  }
  return best == ids[at];
}

TokenData data_of(const EvalIds& ids) {
  return TokenData::from_ids({.ids = ids, .train = static_cast<std::int64_t>(ids.size()) / 2},
                             ids_tokenizer(kVocabulary));
}

}  // namespace

TEST_CASE("token losses: each is that of its window, for every context and stride") {
  const OneThread one_thread;
  const EvalIds ids = some_ids(70, 3);
  const TokenData data = data_of(ids);
  for (const Positions positions : {Positions::none, Positions::rope, Positions::learned}) {
    INFO(to_string(positions));
    const auto model = small_decoder(positions);
    for (const std::int64_t context : {0, 3, 8, 20}) {
      if (positions == Positions::learned && context > kSmallContext) continue;
      for (const std::int64_t stride : {0, 1, 3}) {
        CAPTURE(context);
        CAPTURE(stride);
        const std::int64_t length = context == 0 ? kSmallContext : context;
        const std::int64_t step = stride == 0 ? length : stride;
        const EvaluationOptions options{.batch = 5, .context = context, .stride = stride};
        std::int64_t next = data.valid().begin;
        double sum = 0;
        const Evaluation result = evaluate_tokens(*model, data, data.valid(), options, [&](const TokenLoss& token) {
          REQUIRE(token.index == next);
          const std::int64_t target = next - data.valid().begin;
          const std::int64_t window = target < length ? 0 : (target - length) / step + 1;
          const auto begin = static_cast<std::size_t>(data.valid().begin + window * step - 1);
          const double want = loss_by_hand(*model, ids, begin, static_cast<std::size_t>(next), length > 8 ? length : 0);
          CHECK(token.loss == doctest::Approx(want).epsilon(1e-10));
          CHECK(token.token == ids[static_cast<std::size_t>(next)]);
          CHECK(token.position == next - static_cast<std::int64_t>(begin));
          sum += want;
          ++next;
        });
        CHECK(next == 70);
        CHECK(result.targets == 35);
        CHECK(result.loss == doctest::Approx(sum / 35).epsilon(1e-10));
        CHECK(result.perplexity == doctest::Approx(std::exp(sum / 35)).epsilon(1e-10));
        if (context > kSmallContext) continue;
        const Evaluation whole = evaluate(*model, data, data.valid(), options);
        CHECK(whole.loss == doctest::Approx(result.loss).epsilon(1e-10));
        CHECK(whole.targets == 35);
      }
    }
  }
  const auto learned = small_decoder(Positions::learned);
  CHECK(error_text<ValueError>(
            [&] { evaluate_tokens(*learned, data, data.all(), {.context = 9}, [](const auto&) {}); }) ==
        "evaluate: a model with learned positions has none beyond its context of 8 tokens; got 9; choose a smaller "
        "context");
}

TEST_CASE("likelihoods: the sum over the continuation, whatever stands beside it in the batch") {
  const OneThread one_thread;
  for (const std::string pattern : {"attention", "attention,hsm:vector(heads=4)", "mamba"}) {
    for (const Positions positions : {Positions::none, Positions::rope}) {
      INFO(pattern << " " << to_string(positions));
      const auto model = small_decoder(positions, pattern);
      std::vector<LikelihoodQuery> queries;
      for (const auto& [context, continuation] : {std::pair{1, 1}, {1, 7}, {5, 3}, {7, 1}, {8, 1}, {20, 4}, {2, 30}}) {
        queries.push_back({some_ids(context, queries.size()), some_ids(continuation, 50 + queries.size())});
      }
      // One that greedy decoding gives.
      queries.push_back({{1, 2, 3}, {}});
      for (int i = 0; i < 4; ++i) {
        EvalIds all = queries.back().context;
        all.insert(all.end(), queries.back().continuation.begin(), queries.back().continuation.end());
        all.push_back(0);
        while (!likeliest_by_hand(*model, all, all.size() - 1, 0)) ++all.back();
        queries.back().continuation.push_back(all.back());
      }
      const std::vector<Likelihood> all = likelihoods(*model, queries, 3);
      REQUIRE(all.size() == queries.size());
      for (std::size_t q = 0; q < queries.size(); ++q) {
        CAPTURE(q);
        EvalIds ids = queries[q].context;
        ids.insert(ids.end(), queries[q].continuation.begin(), queries[q].continuation.end());
        const std::int64_t window = ids.size() > kSmallContext + 1 ? kSmallContext : 0;
        double sum = 0;
        bool likeliest = true;
        for (std::size_t at = queries[q].context.size(); at < ids.size(); ++at) {
          sum -= loss_by_hand(*model, ids, 0, at, window);
          likeliest = likeliest && likeliest_by_hand(*model, ids, at, window);
        }
        CHECK(all[q].log_probability == doctest::Approx(sum).epsilon(1e-10));
        CHECK(all[q].likeliest == likeliest);
        CHECK(all[q].tokens == static_cast<std::int64_t>(queries[q].continuation.size()));
      }
      CHECK(all.back().likeliest);
    }
  }
}

TEST_CASE("likelihoods: with learned positions a long query is read in windows half of the context apart") {
  const OneThread one_thread;
  const auto model = small_decoder(Positions::learned);
  const EvalIds ids = some_ids(30, 9);
  for (const std::size_t first : {1, 5, 8, 9, 13, 29}) {
    CAPTURE(first);
    const LikelihoodQuery query{{ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(first)},
                                {ids.begin() + static_cast<std::ptrdiff_t>(first), ids.end()}};
    double sum = 0;
    for (std::size_t at = first; at < ids.size(); ++at) {
      std::size_t begin = 0;
      while (begin + kSmallContext < at) begin += kSmallContext / 2;
      sum -= loss_by_hand(*model, ids, begin, at, 0);
    }
    CHECK(likelihoods(*model, {query})[0].log_probability == doctest::Approx(sum).epsilon(1e-10));
  }
}

TEST_CASE("target losses: of equal logits the lowest id is the likeliest") {
  const Tensor logits = Tensor::zeros({1, 3, 4}, DType::f32);
  logits.set(0 * 4 + 2, 5);
  const std::vector<TargetLoss> losses = target_losses(logits, std::vector<std::int32_t>{2, 1, -1});
  CHECK(losses[0].likeliest);
  CHECK(losses[0].loss == doctest::Approx(std::log(3 + std::exp(5)) - 5));
  CHECK_FALSE(losses[1].likeliest);
  CHECK(losses[1].loss == doctest::Approx(std::log(4)));
  CHECK(losses[2].loss == 0);
  CHECK(target_losses(logits, std::vector<std::int32_t>{2, 0, 0})[1].likeliest);
  CHECK(rows_of_logits(16, 1000, 50000) == 1);
  CHECK(rows_of_logits(16, 64, 65) == 16);
}

TEST_CASE("mean interval: covers the mean in 95 of 100 samples, and needs two parts") {
  CHECK_FALSE(mean_interval({{3, 1}}).has_value());
  const auto two = mean_interval({{1, 1}, {3, 1}});  // mean 2, deviation of the mean 1, t = 12.7062
  REQUIRE(two.has_value());
  CHECK(two->low == doctest::Approx(2 - 12.7062).epsilon(1e-5));
  CHECK(two->high == doctest::Approx(2 + 12.7062).epsilon(1e-5));
  for (const int parts : {3, 10, 40}) {
    int covered = 0;
    Rng rng(static_cast<std::uint64_t>(parts));
    for (int sample = 0; sample < 4000; ++sample) {
      std::vector<PartialSum> sums;
      const Tensor normal = Tensor::empty({parts}, DType::f64);
      rng.fill_normal(normal, 0, 1);
      for (int i = 0; i < parts; ++i) sums.push_back({10 * (2 + normal.at(i)), 10});
      const auto interval = mean_interval(sums);
      covered += interval->low <= 2 && 2 <= interval->high ? 1 : 0;
    }
    CAPTURE(parts);
    CHECK(covered > 4000 * 0.935);
    CHECK(covered < 4000 * 0.965);
  }
}

}  // namespace mixgrad::test
