// nn/model/generator.h: drawing a token, and sequences of them against forward, alone and side by side.
#include "nn/model/generator.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "core/error.h"
#include "nn/config/patterns/mixer_pattern.h"
#include "tests/support/close.h"

namespace mixgrad::test {
namespace {

using Ids = std::vector<std::int32_t>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<double> softmax(const std::vector<double>& logits, double temperature) {
  const double top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  for (const double logit : logits) p.push_back(std::exp((logit - top) / temperature));
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& value : p) value /= total;
  return p;
}

// How often each id came in n draws.
std::vector<int> counts(const std::vector<double>& logits, const SamplingOptions& options, int n,
                        std::uint64_t seed = 1) {
  Rng rng(seed);
  std::vector<int> count(logits.size());
  for (int i = 0; i < n; ++i) ++count.at(static_cast<std::size_t>(sample_token(logits, options, rng)));
  return count;
}

// Empty when the counts of n draws are those of probabilities p within five standard deviations, and 0 where p is 0.
std::string not_distributed(const std::vector<int>& count, const std::vector<double>& p) {
  const double n = std::accumulate(count.begin(), count.end(), 0.0);
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double allowed = 5 * std::sqrt(n * p[i] * (1 - p[i])) + (p[i] > 0 ? 1e-9 : 0);
    if (std::abs(count[i] - n * p[i]) > allowed) {
      return "id " + std::to_string(i) + " came " + std::to_string(count[i]) + " times, " + std::to_string(n * p[i]) +
             " expected";
    }
  }
  return {};
}

// p with only the first `kept` of `order`, summing to 1.
std::vector<double> restricted(const std::vector<double>& p, const std::vector<std::size_t>& kept) {
  std::vector<double> result(p.size());
  double total = 0;
  for (const std::size_t id : kept) total += p[id];
  for (const std::size_t id : kept) result[id] = p[id] / total;
  return result;
}

const std::vector<double> kLogits{0.3, -1.2, 2.0, 0.3, 1.1, -4.0};  // in falling order: 2, 4, 0 = 3, 1, 5
constexpr int kDraws = 20000;

TEST_CASE("sample_token: the distribution is softmax of the logits over the temperature") {
  for (const double temperature : {0.25, 1.0, 3.0}) {
    INFO(temperature);
    CHECK(not_distributed(counts(kLogits, {temperature, 0, 1}, kDraws), softmax(kLogits, temperature)) == "");
  }
  CHECK(not_distributed(counts(kLogits, {1e9, 0, 1}, kDraws), std::vector<double>(6, 1.0 / 6)) == "");
  CHECK(counts(kLogits, {1e-3, 0, 1}, 200)[2] == 200);
  CHECK(counts(kLogits, {1e-300, 0, 1}, 200)[2] == 200);
  CHECK(counts({1e300, -1e300}, {1, 0, 1}, 100)[0] == 100);
  CHECK(counts({-kInfinity, 0.0, -kInfinity, 0.0}, {1, 0, 1}, 1000)[0] == 0);
}

TEST_CASE("sample_token: top-k keeps the k likeliest, of equals those with the lower ids") {
  const std::vector<double> p = softmax(kLogits, 1);
  const std::vector<std::size_t> order{2, 4, 0, 3, 1, 5};
  for (std::size_t k = 1; k <= order.size() + 1; ++k) {
    INFO(k);
    const std::vector<std::size_t> kept(order.begin(),
                                        order.begin() + static_cast<std::ptrdiff_t>(std::min(k, order.size())));
    CHECK(not_distributed(counts(kLogits, {1, static_cast<std::int64_t>(k), 1}, kDraws), restricted(p, kept)) == "");
  }
  CHECK(counts({1, 1, 1, 1}, {1, 2, 1}, 1000)[2] == 0);
}

TEST_CASE("sample_token: top-p keeps the likeliest until their sum reaches p") {
  const std::vector<double> logits{std::log(0.125), std::log(0.5), std::log(0.125), std::log(0.25)};
  const std::vector<double> p = softmax(logits, 1);
  const auto check = [&](double top_p, const std::vector<std::size_t>& kept) {
    INFO(top_p);
    CHECK(not_distributed(counts(logits, {1, 0, top_p}, kDraws), restricted(p, kept)) == "");
  };
  check(1e-300, {1});
  check(0.499, {1});
  check(0.501, {1, 3});
  check(0.749, {1, 3});
  check(0.751, {1, 3, 0});  // of two equals the lower id
  check(0.876, {1, 3, 0, 2});
  check(1, {0, 1, 2, 3});
  // After temperature and top-k: of 0.5 and 0.25, squared, 0.8 of the whole is the first alone.
  CHECK(counts(logits, {0.5, 2, 0.79}, 1000)[1] == 1000);
  CHECK(not_distributed(counts(logits, {0.5, 2, 0.81}, kDraws), {0, 0.8, 0, 0.2}) == "");
}

TEST_CASE("sample_token: min-p keeps what is at least so many times as likely as the likeliest") {
  const std::vector<double> logits{std::log(0.125), std::log(0.5), std::log(0.125), std::log(0.25)};
  const std::vector<double> p = softmax(logits, 1);
  const auto check = [&](double min_p, const std::vector<std::size_t>& kept) {
    INFO(min_p);
    CHECK(not_distributed(counts(logits, {.min_p = min_p}, kDraws), restricted(p, kept)) == "");
  };
  check(1e-9, {0, 1, 2, 3});
  check(0.249, {0, 1, 2, 3});
  check(0.251, {1, 3});
  check(0.501, {1});
  check(1, {1});
  // After the temperature, and after top-p: the square of 0.25 / 0.5 is a quarter.
  CHECK(counts(logits, {.temperature = 0.5, .min_p = 0.26}, 1000)[1] == 1000);
  CHECK(not_distributed(counts(logits, {.temperature = 0.5, .min_p = 0.24}, kDraws), {0, 0.8, 0, 0.2}) == "");
  CHECK(not_distributed(counts(logits, {.top_p = 0.8, .min_p = 0.2}, kDraws), restricted(p, {1, 3, 0})) == "");
  CHECK(counts({3.0, -kInfinity}, {.min_p = 0.5}, 100)[1] == 0);
}

TEST_CASE("penalize_repetition: what has occurred is divided when it is above 0, and multiplied below") {
  std::vector<double> logits{2, -2, 3, -3, 0, -kInfinity};
  penalize_repetition(logits, {true, true, false, false, true, true}, 4);
  CHECK(logits == std::vector<double>{0.5, -8, 3, -3, 0, -kInfinity});
  penalize_repetition(logits, {false, false, true, true, false, false}, 0.5);
  CHECK(logits == std::vector<double>{0.5, -8, 6, -1.5, 0, -kInfinity});
}

TEST_CASE("log_probability: the logarithm of softmax, also far from 0") {
  const std::vector<double> p = softmax(kLogits, 1);
  for (std::size_t i = 0; i < p.size(); ++i) {
    CHECK(log_probability(kLogits, static_cast<std::int32_t>(i)) == doctest::Approx(std::log(p[i])).epsilon(1e-12));
  }
  CHECK(log_probability(std::vector<double>{1000, 0}, 1) == doctest::Approx(-1000));
  CHECK(log_probability(std::vector<double>{0, -kInfinity}, 0) == 0);
}

TEST_CASE("sample_token: temperature 0 is the largest logit, the lowest id among equals, and draws nothing") {
  Rng rng(5);
  CHECK(sample_token(std::vector<double>{1, 3, 3, 2}, {0, 0, 1}, rng) == 1);
  CHECK(sample_token(std::vector<double>{7}, {0, 3, 0.5}, rng) == 0);
  CHECK(sample_token(std::vector<double>{-kInfinity, -2, -1}, {0, 0, 1}, rng) == 2);
  CHECK(rng.counter() == 0);
  sample_token(kLogits, {1, 0, 1}, rng);
  CHECK(rng.counter() == 1);  // one number a token, so that a seed decides the text
  sample_token(kLogits, {1, 1, 0.1}, rng);
  CHECK(rng.counter() == 2);
}

TEST_CASE("sampling options outside their range are refused, each by its name") {
  const auto text = [](const SamplingOptions& options) { return error_text<ValueError>([&] { validate(options); }); };
  const double nan = std::nan("");
  for (const double bad : {-0.1, nan, kInfinity})
    CHECK(text({bad, 0, 1}).find("temperature must be") != std::string::npos);
  CHECK(text({1, -1, 1}).find("top-k must be at least 0 (0 = all), got -1") != std::string::npos);
  for (const double bad : {0.0, -1.0, 1.001, nan})
    CHECK(text({1, 0, bad}).find("top-p must be in (0,1]") != std::string::npos);
  for (const double bad : {-0.1, 1.1, nan})
    CHECK(text({.min_p = bad}).find("min-p must be in [0,1]") != std::string::npos);
  for (const double bad : {0.0, -1.0, nan, kInfinity}) {
    CHECK(text({.repetition_penalty = bad}).find("repetition penalty must be above 0 (1 = none)") != std::string::npos);
  }
  CHECK(text({0, 0, 1}) == "(no exception)");
  CHECK(text({100, 1 << 30, 1e-9}) == "(no exception)");
}

constexpr std::int64_t kShortContext = 6;
constexpr std::int64_t kLetters = 11;

std::unique_ptr<Decoder> make_model(const std::string& mixers, Positions positions, double spread = 0.5) {
  ModelConfig config;
  config.vocab_size = kLetters;
  config.context = kShortContext;
  config.d_model = 8;
  config.d_ff = 12;
  config.positions = positions;
  config.layers = expand_mixer_pattern(mixers, {2, 2, 1, kShortContext});
  auto model = std::make_unique<Decoder>(config, DType::f64);
  Rng rng(3);
  rng.fill_normal(model->parameters().flat(), 0, spread);  // far from the start, where all tokens are as likely
  return model;
}

Ids generated(const Decoder& model, const Ids& prompt, int n, const SamplingOptions& options, std::uint64_t seed,
              std::int64_t vocabulary = kLetters) {
  Generator generator(model, vocabulary, options, seed);
  generator.prompt(prompt);
  Ids ids;
  for (int i = 0; i < n; ++i) ids.push_back(generator.next());
  return ids;
}

// The same by running forward over the whole sequence for every token.
Ids by_forward(const Decoder& model, const Ids& prompt, int n, const SamplingOptions& options, std::uint64_t seed,
               std::int64_t vocabulary = kLetters) {
  const bool learned = model.config().positions == Positions::learned;
  Rng rng(seed);
  Ids all = prompt;
  Ids seen = prompt;
  if (learned && seen.size() > static_cast<std::size_t>(kShortContext))
    seen.erase(seen.begin(), seen.end() - kShortContext);
  for (int i = 0; i < n; ++i) {
    const auto length = static_cast<std::int64_t>(seen.size());
    const Tensor logits = model.logits(Tensor::from_i32(seen, {1, length}), learned ? 0 : kShortContext);
    std::vector<double> last;
    for (std::int64_t v = 0; v < vocabulary; ++v) last.push_back(logits.at((length - 1) * kLetters + v));
    for (std::int64_t v = 0; v < vocabulary; ++v) {
      if (std::find(all.begin(), all.end(), v) == all.end()) continue;
      double& logit = last[static_cast<std::size_t>(v)];
      logit = logit > 0 ? logit / options.repetition_penalty : logit * options.repetition_penalty;
    }
    const std::int32_t id = sample_token(last, options, rng);
    all.push_back(id);
    seen.push_back(id);
    if (learned && static_cast<std::int64_t>(seen.size()) > kShortContext)
      seen.erase(seen.begin(), seen.end() - kShortContext / 2);
  }
  return {all.begin() + static_cast<std::ptrdiff_t>(prompt.size()), all.end()};
}

const Ids kPrompt{4, 0, 7};

TEST_CASE("generator: its tokens are those of forward over everything, within the context and far beyond it") {
  const OneThread one_thread;
  for (const std::string mixers :
       {"attention", "hsm:scalar(heads=2)", "hsm:vector(heads=4),attention(heads=4,kv_heads=2)"}) {
    for (const Positions positions : {Positions::rope, Positions::none, Positions::learned}) {
      INFO(mixers << " " << to_string(positions));
      const auto model = make_model(mixers, positions);
      for (const SamplingOptions& options : {SamplingOptions{0, 0, 1}, {1, 0, 1}, {1.5, 4, 0.9}}) {
        CHECK(generated(*model, kPrompt, 25, options, 9) == by_forward(*model, kPrompt, 25, options, 9));
      }
      CHECK(generated(*model, kPrompt, 25, {1, 0, 1}, 9) != generated(*model, kPrompt, 25, {1, 0, 1}, 10));
      const SamplingOptions penalty{.temperature = 0.8, .min_p = 0.1, .repetition_penalty = 1.7};
      CHECK(generated(*model, kPrompt, 25, penalty, 9) == by_forward(*model, kPrompt, 25, penalty, 9));
      const SamplingOptions likeliest{.temperature = 0, .repetition_penalty = 1.7};
      CHECK(generated(*model, kPrompt, 25, likeliest, 9) == by_forward(*model, kPrompt, 25, likeliest, 9));
      const Ids long_prompt{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 1, 2, 3, 4, 5};
      CHECK(generated(*model, long_prompt, 9, {1, 0, 1}, 2) == by_forward(*model, long_prompt, 9, {1, 0, 1}, 2));
    }
  }
}

TEST_CASE("generator: only learned positions restart, and not before the context is full") {
  const OneThread one_thread;
  for (const Positions positions : {Positions::rope, Positions::none, Positions::learned}) {
    const bool learned = positions == Positions::learned;
    INFO(to_string(positions));
    const auto model = make_model("hsm:scalar,attention", positions);
    Generator generator(*model, kLetters, {}, 1);
    const std::size_t bytes = generator.state_bytes();
    CHECK(bytes > 0);
    generator.prompt(kPrompt);
    for (int i = 0; i < 3; ++i) generator.next();  // six tokens: all of the context
    CHECK_FALSE(generator.restarted());
    generator.next();
    CHECK(generator.restarted() == learned);
    for (int i = 0; i < 50; ++i) generator.next();
    CHECK(generator.state_bytes() == bytes);  // as far as it may go, it takes no more memory

    Generator long_prompt(*model, kLetters, {}, 1);
    long_prompt.prompt(Ids(7, 1));
    CHECK(long_prompt.restarted() == learned);
  }
}

TEST_CASE("generator: a context of one token, with every kind of positions") {
  const OneThread one_thread;
  for (const Positions positions : {Positions::rope, Positions::none, Positions::learned}) {
    ModelConfig config = make_model("attention", positions)->config();
    config.context = 1;
    Decoder model(config, DType::f64);
    Rng rng(3);
    rng.fill_normal(model.parameters().flat(), 0, 0.5);
    const Ids ids = generated(model, {3}, 5, {0, 0, 1}, 1);
    std::int32_t last = 3;
    for (const std::int32_t id : ids) {  // each depends on the one before it alone
      CHECK(Ids{id} == generated(model, {last}, 1, {0, 0, 1}, 1));
      last = id;
    }
  }
}

TEST_CASE("batch generator: each row gets the tokens that it gets alone, whatever the lengths of the prompts") {
  const OneThread one_thread;
  const std::vector<Ids> prompts{{4, 0, 7}, {1}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 1, 2}, {9, 9, 3, 1}, {4, 0, 7}};
  const std::vector<std::uint64_t> seeds{9, 10, 11, 12, 13};
  constexpr std::size_t kTokens = 20;
  for (const std::string mixers : {"attention", "hsm:vector(heads=4),attention(heads=4,kv_heads=2)"}) {
    for (const Positions positions : {Positions::rope, Positions::none, Positions::learned}) {
      INFO(mixers << " " << to_string(positions));
      const auto model = make_model(mixers, positions);
      for (const SamplingOptions& options :
           {SamplingOptions{0, 0, 1}, {1, 0, 1}, {.temperature = 0.7, .repetition_penalty = 1.5}}) {
        BatchGenerator generator(*model, kLetters, options, seeds);
        generator.prompt(prompts);
        std::vector<Ids> rows(prompts.size());
        for (int step = 0; std::any_of(rows.begin(), rows.end(), [](const Ids& r) { return r.size() < kTokens; });) {
          REQUIRE(++step < 40);
          const auto drawn = generator.next();
          for (std::size_t b = 0; b < rows.size(); ++b) {
            if (drawn[b].id != BatchGenerator::kReading) rows[b].push_back(drawn[b].id);
          }
        }
        for (std::size_t b = 0; b < rows.size(); ++b) {
          CAPTURE(b);
          rows[b].resize(kTokens);
          CHECK(rows[b] == by_forward(*model, prompts[b], kTokens, options, seeds[b]));
        }
        CHECK(generator.restarted() == (positions == Positions::learned));
      }
    }
  }
}

TEST_CASE("batch generator: log-probabilities are those of forward, before temperature and penalty") {
  const OneThread one_thread;
  const auto model = make_model("attention", Positions::rope);
  const SamplingOptions options{.temperature = 2, .top_k = 3, .repetition_penalty = 3};
  BatchGenerator generator(*model, kLetters, options, {1, 2}, BatchGenerator::LogProbabilities::yes);
  std::vector<Ids> rows{{4, 0, 7}, {1, 2, 3}};
  generator.prompt(rows);
  for (int step = 0; step < 3; ++step) {
    const auto now = generator.next();
    for (std::size_t b = 0; b < rows.size(); ++b) {
      const auto length = static_cast<std::int64_t>(rows[b].size());
      const Tensor logits = model->logits(Tensor::from_i32(rows[b], {1, length}), kShortContext);
      std::vector<double> last;
      for (std::int64_t v = 0; v < kLetters; ++v) last.push_back(logits.at((length - 1) * kLetters + v));
      const double p = softmax(last, 1)[static_cast<std::size_t>(now[b].id)];
      CHECK(now[b].log_probability == doctest::Approx(std::log(p)).epsilon(1e-9));
      rows[b].push_back(now[b].id);
    }
  }
}

TEST_CASE("generator: ids beyond the vocabulary of the tokenizer are never drawn") {
  const OneThread one_thread;
  const auto model = make_model("attention", Positions::rope, 0.0);  // all tokens are equally likely
  Ids seen = generated(*model, {1}, 200, {1, 0, 1}, 1, 5);
  std::sort(seen.begin(), seen.end());
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  CHECK(seen == Ids{0, 1, 2, 3, 4});
  CHECK(generated(*model, {1}, 3, {0, 0, 1}, 1, 5) == Ids{0, 0, 0});
}

TEST_CASE("generator: an empty prompt, a foreign token and options out of range are refused") {
  const OneThread one_thread;
  const auto model = make_model("attention", Positions::rope);
  const auto text = [&](const Ids& prompt, const SamplingOptions& options) {
    return error_text<ValueError>([&] { generated(*model, prompt, 1, options, 1); });
  };
  CHECK(text({}, {}) == "generate: the prompt needs at least one token");
  CHECK(text({11}, {}) == "embedding: tokens must be in [0,11), got 11 at index 0");
  CHECK(text({1}, {1, 0, 2}) == "sampling: top-p must be in (0,1], got 2");
}

}  // namespace
}  // namespace mixgrad::test
