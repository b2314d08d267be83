// nn/analysis/exploration.h: the numbers of the explorer against what the model itself says.
#include "nn/analysis/exploration.h"

#include <doctest/doctest.h>

#include <cmath>
#include <memory>

#include "core/error.h"
#include "nn/analysis/head_statistics.h"
#include "nn/config/patterns/mixer_pattern.h"
#include "tests/support/temp_folder.h"

namespace mixgrad::test {
namespace {

constexpr std::int64_t kExploredTokens = 19;

ModelConfig explored_config(const std::string& pattern) {
  ModelConfig config;
  config.vocab_size = 13;
  config.context = 24;
  config.d_model = 16;
  config.d_ff = 24;
  config.layers = expand_mixer_pattern(pattern, {3, 4, 2, config.context, config.d_model});
  return config;
}

std::vector<std::int32_t> explored_tokens() {
  std::vector<std::int32_t> tokens;
  for (std::int32_t i = 0; i < kExploredTokens; ++i) tokens.push_back(i * i % 13);
  return tokens;
}

std::unique_ptr<Decoder> explored_model(const ModelConfig& config) {
  auto model = std::make_unique<Decoder>(config, DType::f64);
  model->parameters().initialize(3);
  return model;
}

}  // namespace

TEST_CASE("exploration: losses, guesses and the last lens are those of the model") {
  for (const char* pattern : {"attention", "hsm:scalar,attention", "mixed(softmax=1,shift=1)", "mamba", "hsm:fusion"}) {
    CAPTURE(pattern);
    const ModelConfig config = explored_config(pattern);
    const auto model = explored_model(config);
    const std::vector<std::int32_t> tokens = explored_tokens();
    const Exploration found = explore(*model, tokens, 4);
    REQUIRE(found.losses.size() == tokens.size() - 1);
    double total = 0;
    for (const double loss : found.losses) total += loss;
    const Tensor inputs = Tensor::from_i32(std::span(tokens).first(tokens.size() - 1), {1, kExploredTokens - 1});
    const Tensor targets = Tensor::from_i32(std::span(tokens).subspan(1), {1, kExploredTokens - 1});
    CHECK(total / static_cast<double>(found.losses.size()) == doctest::Approx(model->loss(inputs, targets).item()));
    REQUIRE(found.lens.size() == config.layers.size() + 1);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      CHECK(found.lens.back()[i].token == found.guesses[i].front().token);
      CHECK(found.lens.back()[i].probability == doctest::Approx(found.guesses[i].front().probability));
      if (i + 1 < tokens.size()) {
        CHECK(-std::log(found.lens_of_next.back()[i]) == doctest::Approx(found.losses[i]));
      }
      for (std::size_t g = 1; g < found.guesses[i].size(); ++g) {
        CHECK(found.guesses[i][g].probability <= found.guesses[i][g - 1].probability);
      }
    }
    CHECK(found.shift.empty() == (std::string(pattern).find("hsm") == std::string::npos &&
                                  std::string(pattern).find("shift") == std::string::npos));
    CHECK(found.mamba.empty() == (std::string(pattern).find("ma") == std::string::npos ||
                                  std::string(pattern).find("matrix") != std::string::npos ||
                                  std::string(pattern).find("mixed") != std::string::npos));
  }
}

TEST_CASE("exploration: the weights of each softmax head sum to 1, see nothing later, and give its recency ratio") {
  constexpr std::int64_t kNear = 4;
  for (const char* pattern : {"attention", "attention(window=5)", "mixed(softmax=1,shift=1)"}) {
    CAPTURE(pattern);
    const auto model = explored_model(explored_config(pattern));
    const Exploration found = explore(*model, explored_tokens(), kNear);
    REQUIRE_FALSE(found.softmax.empty());
    for (const SoftmaxHead& head : found.softmax) {
      double recency = 0;
      for (std::int64_t i = 0; i < kExploredTokens; ++i) {
        double sum = 0;
        for (std::int64_t j = 0; j < kExploredTokens; ++j) {
          const double weight = head.weights[static_cast<std::size_t>(i * kExploredTokens + j)];
          if (j > i || (head.window > 0 && j <= i - head.window)) CHECK(weight == 0);
          sum += weight;
          if (j >= i - kNear) recency += weight / static_cast<double>(kExploredTokens);
        }
        CHECK(sum == doctest::Approx(1));
      }
      CHECK(head.view.recency == doctest::Approx(recency));
      double all = 0;
      double alike = 0;
      for (std::size_t r = 0; r < head.view.by_distance.size(); ++r) {
        all += head.view.by_distance[r];
        alike += head.view.uniform_by_distance[r];
      }
      CHECK(all == doctest::Approx(1));
      CHECK(alike == doctest::Approx(1));
      CHECK(head.view.by_distance.size() == 6);  // 0, 1, 2-3, 4-7, 8-15, 16-31
    }
  }
}

TEST_CASE("exploration: recency ratios and distances are those of `analyze heads`") {
  const auto model = explored_model(explored_config("attention(window=5)"));
  const std::vector<std::int32_t> tokens = explored_tokens();
  const Exploration found = explore(*model, tokens, 4);
  SampledSequences sample{.batches = {}, .count = 1, .length = kExploredTokens};
  const Tensor input = Tensor::from_i32(tokens, {1, kExploredTokens});
  sample.batches.push_back({input, input});
  const HeadStatistics statistics = head_statistics(*model, sample, 4);
  REQUIRE(statistics.heads.size() == found.softmax.size());
  for (std::size_t h = 0; h < found.softmax.size(); ++h) {
    CHECK(found.softmax[h].view.recency == doctest::Approx(statistics.heads[h].recency));
    CHECK(found.softmax[h].view.uniform_recency == doctest::Approx(statistics.heads[h].uniform_recency));
    for (std::size_t r = 0; r < found.softmax[h].view.by_distance.size(); ++r) {
      CHECK(found.softmax[h].view.by_distance[r] == doctest::Approx(statistics.heads[h].by_distance[r]));
    }
  }
}

TEST_CASE("exploration: every Mamba head of every hybrid has its implied attention, by layer and head") {
  for (const char* pattern : {"mamba", "mixed(softmax=2,mamba=2)", "recurformer(fraction=0.5),attention"}) {
    CAPTURE(pattern);
    const auto model = explored_model(explored_config(pattern));
    const Exploration found = explore(*model, explored_tokens(), 4);
    REQUIRE_FALSE(found.mamba_heads.empty());
    REQUIRE(found.mamba_heads.size() == found.mamba.size());
    for (std::size_t h = 0; h < found.mamba.size(); ++h) {
      CHECK(found.mamba_heads[h].layer == found.mamba[h].layer);
      CHECK(found.mamba_heads[h].head == found.mamba[h].head);
      CHECK(found.mamba_heads[h].attention.weights.size() == kExploredTokens * kExploredTokens);
    }
  }
}

TEST_CASE("exploration: the depth of a shortcut sums to 1 over its sources") {
  ModelConfig config = explored_config("attention");
  config.shortcut = ShortcutConfig{{0, 1, 2}, 8, ShortcutConcat::depth};
  const Exploration found = explore(*explored_model(config), explored_tokens(), 2);
  REQUIRE(found.depth.size() == static_cast<std::size_t>(kExploredTokens));
  CHECK(found.sources == std::vector<std::int64_t>{0, 1, 2});
  for (std::size_t i = 0; i < found.depth.size(); ++i) {
    double sum = 0;
    double depth = 0;
    for (std::size_t m = 0; m < 3; ++m) {
      sum += found.depth[i][m];
      depth += static_cast<double>(m) * found.depth[i][m];
    }
    CHECK(sum == doctest::Approx(1));
    CHECK(found.effective_depth[i] == doctest::Approx(depth));
  }
}

TEST_CASE("exploration: too few tokens, too many, a window below 0") {
  const auto model = explored_model(explored_config("attention"));
  CHECK(error_of<ValueError>([&] { explore(*model, {1}, 2); }) ==
        "explore: 2 to 24 tokens are required, the model's context; got 1");
  CHECK(error_of<ValueError>([&] { explore(*model, std::vector<std::int32_t>(25), 2); }) ==
        "explore: 2 to 24 tokens are required, the model's context; got 25");
  CHECK(error_of<ValueError>([&] {
          explore(*model, {1, 2}, -1);
        }) == "explore: the recency window must be at least 0; got -1");
}

}  // namespace mixgrad::test
