// Where softmax heads look, what a model loses without them, and the sequences on which that is measured.
#include "nn/analysis/head_statistics.h"

#include <doctest/doctest.h>

#include <cmath>
#include <numeric>

#include "core/error.h"
#include "nn/mixers/attention_mixer.h"
#include "nn/tokenizers/char_tokenizer.h"
#include "tests/support/mixer_laws.h"
#include "tests/support/text.h"

namespace mixgrad::test {
namespace {

// Attention, heads of every kind with windows that alternate, shift mixing, grouped attention with a window.
ModelConfig analysed_config() {
  ModelConfig config = decoder_config("attention", Positions::rope, Norm::rmsnorm, Mlp::swiglu, true, true);
  config.layers = {AttentionConfig{4, 4},
                   MixedHeadsConfig{.heads = 8,
                                    .kv_heads = 8,
                                    .recurrent_groups = {1},
                                    .d_state = 2,
                                    .shift_groups = {4},
                                    .shifts = {2},
                                    .window_groups = {0, 5, 6},
                                    .window = 4},
                   HsmConfig{HsmVariant::scalar, 1, {1}}, AttentionConfig{.heads = 4, .kv_heads = 2, .window = 7}};
  return config;
}

TokenData analysed_text(std::int64_t tokens) {
  std::string text = "abcdefghij\n";
  Rng rng(3);
  while (static_cast<std::int64_t>(text.size()) < tokens) text += "abcdefghij\n"[rng.below(11)];
  return TokenData::from_text(text, char_tokenizer(text, "test"), "test");
}

TEST_CASE("softmax groups: of attention and mixed layers, with their heads, rows and windows; not of a shortcut") {
  ModelConfig config = analysed_config();
  const std::vector<SoftmaxGroup> groups = softmax_groups(config);
  REQUIRE(groups.size() == 4 + 6 + 2);
  CHECK(groups[3].id == GroupId{0, 3});
  CHECK(groups[3].heads == Sizes{3});
  CHECK(groups[3].window == 0);
  CHECK(groups[4].id == GroupId{1, 0});
  CHECK(groups[4].window == 4);
  CHECK(groups[5].id == GroupId{1, 2});
  CHECK(groups[5].window == 0);
  CHECK(groups[5].index == 1);
  CHECK(groups[7].id == GroupId{1, 5});
  CHECK(groups[7].first_head == 3);
  CHECK(groups[11].id == GroupId{3, 1});
  CHECK(groups[11].heads == Sizes{2, 3});
  CHECK(groups[11].first_head == 2);
  CHECK(groups[11].window == 7);
  const QkvRows rows = qkv_rows(config, 1);
  CHECK(rows.heads == 6);
  CHECK(rows.head_dim == 2);
  CHECK(rows.value(5) + rows.head_dim == parameter_shapes(config).at("layers.1.mixer.qkv.weight")[0]);
  config.layers.back() = AttentionConfig{.heads = 4, .kv_heads = 2};
  config.shortcut = ShortcutConfig{{0}, 5, ShortcutConcat::sequence};
  CHECK(softmax_groups(config).size() == 4 + 6);
}

TEST_CASE("sample_sequences: spread evenly, not overlapping, every token with its target") {
  const TokenData data = analysed_text(1000);
  const SampledSequences some = sample_sequences(data, {100, 1000}, 8, 5);
  CHECK(some.count == 5);
  CHECK(some.length == 8);
  const Tensor& tokens = some.batches[0].tokens;
  REQUIRE(tokens.shape() == Shape{5, 8});
  std::vector<std::int32_t> want(9);
  for (std::int64_t r = 0; r < 5; ++r) {
    data.gather(100 + r * 112 / 5 * 8, 9, want.data());  // 112 whole sequences are there
    for (std::int64_t t = 0; t < 8; ++t) {
      CHECK(tokens.at(r * 8 + t) == want[static_cast<std::size_t>(t)]);
      CHECK(some.batches[0].targets.at(r * 8 + t) == want[static_cast<std::size_t>(t) + 1]);
    }
  }
  CHECK(sample_sequences(data, data.all(), 8, 1'000'000).count == 124);
  CHECK(sample_sequences(data, {0, 6}, 8, 64).length == 5);  // a short text: one shorter sequence
  CHECK(sample_sequences(data, data.all(), 100, 64).batches.size() == 1);
  CHECK(error_text<ValueError>([&] {
          sample_sequences(data, {7, 8}, 8, 64);
        }) == "sequences of test: at least two tokens are required; got 1; choose a longer text or another split");
}

TEST_CASE("mean_loss: the loss over all batches") {
  const auto model = make_decoder(analysed_config(), DType::f64);
  const TokenData data = analysed_text(13'000);
  const SampledSequences many = sample_sequences(data, data.all(), 40, 300);
  CHECK(many.batches.size() > 2);
  double sum = 0;
  double rows = 0;
  for (const auto& batch : many.batches) {
    for (std::int64_t b = 0; b < batch.tokens.dim(0); ++b, ++rows) {
      sum += model->loss(batch.tokens.slice(b, b + 1), batch.targets.slice(b, b + 1)).item();
    }
  }
  CHECK(rows == 300);
  CHECK(std::abs(mean_loss(*model, many) - sum / rows) < 1e-12);
}

TEST_CASE("head statistics: recency is the decoder's, distances sum to one, whatever the batches") {
  const auto model = make_decoder(analysed_config(), DType::f64);
  const TokenData data = analysed_text(6'000);
  const SampledSequences sample = sample_sequences(data, data.all(), 40, 130);
  CHECK(sample.batches.size() == 2);
  const HeadStatistics all = head_statistics(*model, sample, 3);
  REQUIRE(all.heads.size() == 4 + 6 + 4);
  CHECK(all.sequences == 130);
  std::vector<std::vector<double>> want(4);
  for (const auto& batch : sample.batches) {
    const std::vector<Tensor> ratios = model->recency(batch.tokens, 3);
    for (std::size_t l = 0; l < 4; ++l) {
      if (!ratios[l].defined()) continue;
      want[l].resize(static_cast<std::size_t>(ratios[l].numel()));
      for (std::size_t h = 0; h < want[l].size(); ++h) {
        want[l][h] += ratios[l].at(static_cast<std::int64_t>(h)) * static_cast<double>(batch.tokens.dim(0)) / 130;
      }
    }
  }
  std::vector<std::size_t> next(4);
  for (const HeadStatistic& head : all.heads) {
    const auto l = static_cast<std::size_t>(head.group.layer);
    CHECK(std::abs(head.recency - want[l][next[l]++]) < 1e-12);
    CHECK(std::abs(std::accumulate(head.by_distance.begin(), head.by_distance.end(), 0.0) - 1) < 1e-12);
    // Distances 0 to 3 are the first three ranges.
    CHECK(std::abs(head.by_distance[0] + head.by_distance[1] + head.by_distance[2] - head.recency) < 1e-12);
    CHECK(head.entropy > 0);
    if (head.window > 0) CHECK(head.by_distance.back() == 0);
  }
  CHECK(all.heads[4].head == 0);
  CHECK(all.heads[5].head == 2);
  CHECK(std::abs(all.group_recency[11] - (all.heads[12].recency + all.heads[13].recency) / 2) < 1e-12);
}

TEST_CASE("head statistics: heads without queries look at all they see alike, and have the uniform values") {
  const auto model = make_decoder(analysed_config(), DType::f64);
  for (const char* name : {"layers.0.mixer.qkv.", "layers.1.mixer.qkv.", "layers.3.mixer.qkv."}) {
    model->parameters().at(std::string(name) + "weight").value.fill(0);
    model->parameters().at(std::string(name) + "bias").value.fill(0);
  }
  const TokenData data = analysed_text(600);
  for (const HeadStatistic& head : head_statistics(*model, sample_sequences(data, data.all(), 33, 9), 2).heads) {
    CHECK(std::abs(head.recency - head.uniform_recency) < 1e-12);
    CHECK(std::abs(head.first - head.uniform_first) < 1e-12);
    CHECK(std::abs(head.entropy - head.uniform_entropy) < 1e-12);
  }
}

TEST_CASE("losses without groups: the loss when the columns of o for their heads are zero; the model stays as it was") {
  const auto model = make_decoder(analysed_config(), DType::f64);
  const TokenData data = analysed_text(600);
  const SampledSequences sample = sample_sequences(data, data.all(), 17, 11);
  const Tensor before = model->parameters().flat().clone();
  const std::vector<double> losses = losses_without_groups(*model, sample);
  CHECK(model->parameters().flat().equal_bits(before));
  const std::vector<SoftmaxGroup> groups = softmax_groups(model->config());
  REQUIRE(losses.size() == groups.size());
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const Tensor& o = model->parameters().at(mixer_prefix(groups[g].id.layer) + "o.weight").value;
    const Tensor kept = o.clone();
    const std::int64_t dh = qkv_rows(model->config(), groups[g].id.layer).head_dim;
    for (std::int64_t i = 0; i < o.numel(); ++i) {
      const std::int64_t head = i % o.cols() / dh;
      if (std::find(groups[g].heads.begin(), groups[g].heads.end(), head) != groups[g].heads.end()) o.set(i, 0);
    }
    CHECK(std::abs(mean_loss(*model, sample) - losses[g]) < 1e-12);
    o.copy_from(kept);
  }
}

TEST_CASE("spearman: by hand, with ties, and of lists that have no order") {
  CHECK(spearman({1, 2, 3}, {10, 20, 30}) == 1);
  CHECK(spearman({1, 2, 3}, {3, 2, 1}) == -1);
  CHECK(std::abs(spearman({1, 2, 3, 4, 5}, {2, 1, 4, 3, 5}) - 0.8) < 1e-15);
  CHECK(std::abs(spearman({1, 1, 2}, {1, 2, 3}) - 1.5 / std::sqrt(1.5 * 2)) < 1e-15);
  CHECK(std::isnan(spearman({1, 1, 1}, {1, 2, 3})));
  CHECK(std::isnan(spearman({4}, {5})));
}

}  // namespace
}  // namespace mixgrad::test
