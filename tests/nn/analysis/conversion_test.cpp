// Which groups are chosen, what a layer becomes, which parameters stay, and how the new heads start.
#include "nn/analysis/conversion/conversion.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "nn/analysis/conversion/group_choice.h"
#include "nn/analysis/conversion/head_start.h"
#include "nn/tokenizers/char_tokenizer.h"
#include "tests/support/mixer_laws.h"
#include "tests/support/text.h"

namespace mixgrad::test {
namespace {

ModelConfig softmax_config(const std::vector<LayerConfig>& layers, bool bias = true) {
  ModelConfig config = decoder_config("attention", Positions::rope, Norm::rmsnorm, Mlp::swiglu, true, bias);
  config.layers = layers;
  return config;
}

std::vector<GroupId> chosen_by(const std::string& text, const std::vector<double>& recency,
                               const std::vector<double>& losses = {}, std::uint64_t seed = 1) {
  const ModelConfig config = softmax_config({AttentionConfig{4, 2}, AttentionConfig{4, 4}});
  return chosen_groups(parse_group_choice(text), softmax_groups(config), recency, losses, seed);
}

using Ids = std::vector<GroupId>;

TEST_CASE("group choice: thresholds, fractions, ablation, chance, and names") {
  const std::vector<double> recency{0.5, 0.9, 0.9, 0.2, 0.7, 0.9};
  CHECK(chosen_by("threshold=0.7", recency) == Ids{{0, 1}, {1, 0}, {1, 2}, {1, 3}});
  CHECK(chosen_by("threshold=0.9", recency) == Ids{{0, 1}, {1, 0}, {1, 3}});
  CHECK(chosen_by("fraction=0.3", recency) == Ids{{0, 1}, {1, 0}});                           // of equal ones the first
  CHECK(chosen_by("fraction=0.75", recency) == Ids{{0, 0}, {0, 1}, {1, 0}, {1, 2}, {1, 3}});  // 4.5 is rounded up
  CHECK(chosen_by("lowest=0.34", recency) == Ids{{0, 0}, {1, 1}});
  CHECK(chosen_by("ablation=0.5", {}, {3, 1, 2, 9, 8, 1}) == Ids{{0, 1}, {1, 0}, {1, 3}});
  CHECK(chosen_by("groups=1:3,0:0", {}) == Ids{{0, 0}, {1, 3}});
  CHECK(chosen_by("fraction=1", recency).size() == 6);
  for (const char* none : {"fraction=0", "lowest=0", "random=0", "ablation=0"}) CHECK(chosen_by(none, {}).empty());
  CHECK_FALSE(parse_group_choice("fraction=0").asks_recency());
  CHECK(parse_group_choice("fraction=0.1").asks_recency());
  CHECK(parse_group_choice("threshold=0").asks_recency());
  CHECK(parse_group_choice("ablation=0.1").asks_ablation());
  CHECK_FALSE(parse_group_choice("random=0.5").asks_recency());
  CHECK(chosen_by("random=0.5", {}, {}, 4) == chosen_by("random=0.5", {}, {}, 4));
  std::vector<int> drawn(6);
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const Ids ids = chosen_by("random=0.5", {}, {}, seed);
    CHECK(ids.size() == 3);
    CHECK(std::is_sorted(ids.begin(), ids.end()));
    for (const GroupId& id : ids) ++drawn[static_cast<std::size_t>(id.layer * 2 + id.group)];
  }
  for (const int times : drawn) CHECK((times > 100 && times < 200));
}

TEST_CASE("group choice: what is refused") {
  const auto text = [](const std::string& choice) {
    return error_text<ValueError>([&] { chosen_by(choice, {0.5, 0.9, 0.9, 0.2, 0.7, 0.9}); });
  };
  CHECK(
      text("half") ==
      "the choice of groups must be RULE=VALUE with one of threshold, fraction, lowest, random, ablation, groups; got "
      "\"half\"; like fraction=0.5");
  CHECK(has(text("fracton=0.5"), "got \"fracton\"; did you mean \"fraction\"?"));
  CHECK(text("fraction=1.5") ==
        "the choice of groups: fraction must be a number from 0 to 1; got \"1.5\"; correct the value");
  CHECK(has(text("threshold=-0.1"), "threshold must be a number from 0 to 1"));
  CHECK(has(text("random=nan"), "random must be a number from 0 to 1"));
  CHECK(text("threshold=0.95") ==
        "the choice of groups: a threshold that at least one group reaches is required; the highest recency ratio is "
        "0.9, below 0.95; lower the threshold");
  CHECK(has(text("groups=0"), "groups must be a list of LAYER:GROUP like groups=0:1,2:3; got \"0\""));
  CHECK(has(text("groups=0:-1"), "got \"0:-1\""));
  CHECK(has(text("groups="), "got \"\""));
  CHECK(has(text("groups=0:1,0:1"), "each group may be named once; got 0:1 twice"));
  CHECK(has(text("groups=0:2"), "softmax groups of the model are required"));
  CHECK(has(text("groups=2:0"), "got 2:0, which is none"));
}

TEST_CASE("conversion: what a layer becomes") {
  const LayerConfig attention = AttentionConfig{.heads = 8, .kv_heads = 4, .qkv_bias = false};
  const auto converted = [&](const LayerConfig& layer, const std::vector<std::int64_t>& groups,
                             const ConversionOptions& options) {
    Ids ids;
    for (const std::int64_t group : groups) ids.push_back({1, group});
    const ModelConfig config = softmax_config({HsmConfig{HsmVariant::scalar, 1, {1}}, layer});
    const ModelConfig after = converted_config(config, ids, options);
    CHECK(after.layers[0] == config.layers[0]);
    return after.layers[1];
  };
  const MixedHeadsConfig recurrent = converted(attention, {3, 1}, {.expand = 2}).get<MixedHeadsConfig>();
  CHECK(recurrent == MixedHeadsConfig{.heads = 8, .kv_heads = 4, .recurrent_groups = {1, 3}, .qkv_bias = false});
  CHECK(converted(attention, {}, {}) == attention);
  CHECK_FALSE(converted(attention, {0, 1, 2, 3}, {}).get<MixedHeadsConfig>().qkv_bias.has_value());
  const MixedHeadsConfig windowed =
      converted(attention, {2}, {.to = HeadTarget::window, .window = 9}).get<MixedHeadsConfig>();
  CHECK(windowed.window_groups == std::vector<std::int64_t>{2});
  CHECK(windowed.window == 9);
  CHECK(converted(attention, {0, 1, 2, 3}, {.to = HeadTarget::window, .window = 9}) ==
        LayerConfig(AttentionConfig{.heads = 8, .kv_heads = 4, .window = 9, .qkv_bias = false}));
  const MixedHeadsConfig shifting = converted(attention, {0, 2}, {.to = HeadTarget::shift}).get<MixedHeadsConfig>();
  CHECK(shifting.shift_groups == std::vector<std::int64_t>{0, 2});
  CHECK(shifting.shifts == std::vector<std::int64_t>{1, 2, 4, 8});
  // A window of the whole layer stays with the groups that stay.
  const MixedHeadsConfig narrow =
      converted(AttentionConfig{.heads = 4, .kv_heads = 4, .window = 5}, {1}, {}).get<MixedHeadsConfig>();
  CHECK(narrow.window_groups == std::vector<std::int64_t>{0, 2, 3});
  CHECK(narrow.window == 5);
  // A layer that is mixed already.
  const MixedHeadsConfig before{
      .heads = 4, .kv_heads = 4, .recurrent_groups = {1}, .expand = 1, .shift_groups = {3}, .shifts = {7}};
  CHECK(converted(before, {0}, {.expand = 1}).get<MixedHeadsConfig>().recurrent_groups ==
        std::vector<std::int64_t>{0, 1});
  CHECK(converted(before, {2}, {.to = HeadTarget::shift}).get<MixedHeadsConfig>().shifts ==
        std::vector<std::int64_t>{1, 7});
  CHECK(has(error_text<ValueError>([&] { converted(before, {0}, {.expand = 2}); }),
            "the Mamba heads of a layer have one expand; layer 1 has heads with 1, got 2 for the new ones; give 1"));
  CHECK(has(error_text<ValueError>([&] {
              converted(AttentionConfig{.heads = 4, .kv_heads = 4, .window = 5}, {1},
                        {.to = HeadTarget::window, .window = 6});
            }),
            "the groups of a layer have one window; layer 1 has groups with 5 tokens, got 6 for the new ones"));
  CHECK(has(error_text<ValueError>([&] { converted(attention, {4}, {}); }), "got 1:4, which is none"));
}

// Every number that both models have is the same, wherever its group, head or channel now stands.
TEST_CASE("conversion: with the outputs of replaced heads left out, both models compute the same") {
  const ModelConfig config = softmax_config({AttentionConfig{8, 4}, MixedHeadsConfig{.heads = 8,
                                                                                     .kv_heads = 8,
                                                                                     .recurrent_groups = {2, 6},
                                                                                     .d_state = 2,
                                                                                     .expand = 1,
                                                                                     .shift_groups = {4},
                                                                                     .shifts = {3},
                                                                                     .window_groups = {0, 5},
                                                                                     .window = 4}});
  const Ids ids{{0, 1}, {0, 2}, {1, 0}, {1, 3}, {1, 7}};
  const Tensor tokens = token_tensor(2, 17, kVocabulary, 1);
  for (const HeadTarget target : {HeadTarget::recurformer, HeadTarget::shift}) {
    auto before = make_decoder(config, DType::f64);
    const ModelConfig after = converted_config(config, ids, {.to = target});
    Decoder converted(after, Placement(DType::f64, test_device()));
    converted.parameters().initialize(5);
    copy_kept_parameters(*before, converted);
    const std::vector<ReplacedHead> heads = replaced_heads(config, after, target);
    CHECK(heads.size() == 2 * 2 + 3);
    start_at_zero(converted, heads, target);
    // In the old model the replaced heads give nothing when the rows of their values are zero.
    for (const ReplacedHead& head : heads) {
      const QkvRows rows = qkv_rows(config, head.group.layer);
      for (const char* name : {"qkv.weight", "qkv.bias"}) {
        const std::int64_t row = rows.value(head.value);
        before->parameters().at(mixer_prefix(head.group.layer) + name).value.slice(row, row + rows.head_dim).fill(0);
      }
    }
    const Tensor want = before->logits(tokens);
    CHECK(not_close_to_scale(converted.logits(tokens), want, 1e-13, largest_of(want)) == kHolds);
  }
  // Of heads with a window nothing is new.
  ModelConfig long_window = softmax_config({AttentionConfig{8, 4}});
  const auto base = make_decoder(long_window, DType::f64);
  Decoder windowed(converted_config(long_window, {{0, 1}, {0, 2}}, {.to = HeadTarget::window, .window = 17}),
                   Placement(DType::f64, test_device()));
  copy_kept_parameters(*base, windowed);
  const Tensor want = base->logits(tokens);
  CHECK(not_close_to_scale(windowed.logits(tokens), want, 1e-13, largest_of(want)) == kHolds);
  CHECK(replaced_heads(long_window, windowed.config(), HeadTarget::window).empty());
}

TEST_CASE("conversion of no group: the same configuration, the same bits") {
  const ModelConfig config = softmax_config({AttentionConfig{4, 4}, AttentionConfig{4, 2}});
  const auto model = make_decoder(config, DType::f32);
  const ModelConfig same = converted_config(config, {}, {});
  CHECK(same == config);
  Decoder converted(same, Placement(DType::f32, test_device()));
  converted.parameters().initialize(2);
  copy_kept_parameters(*model, converted);
  CHECK(converted.parameters().flat().equal_bits(model->parameters().flat()));
}

TokenData random_text(std::int64_t tokens) {
  std::string text = "abcdefghij\n";
  Rng rng(3);
  while (static_cast<std::int64_t>(text.size()) < tokens) text += "abcdefghij\n"[rng.below(11)];
  return TokenData::from_text(text, char_tokenizer(text, "test"), "test");
}

// What it promises it gives: the share that it returns is that of the heads' outputs in the new model.
TEST_CASE("from-attention: the new heads give the share of the attention's output that is reported") {
  for (const bool bias : {false, true}) {
    for (const HeadTarget target : {HeadTarget::recurformer, HeadTarget::shift}) {
      const ModelConfig config = softmax_config({AttentionConfig{4, 2}}, bias);
      const auto model = make_decoder(config, DType::f64);
      const TokenData data = random_text(2'000);
      const SampledSequences sample = sample_sequences(data, data.all(), 20, 60);
      const ModelConfig after = converted_config(config, {{0, 0}, {0, 1}}, {.to = target, .expand = 2});
      Decoder converted(after, Placement(DType::f64, test_device()));
      converted.parameters().initialize(5);
      copy_kept_parameters(*model, converted);
      const std::vector<ReplacedHead> heads = replaced_heads(config, after, target);
      const std::vector<double> shares = start_from_attention(*model, converted, heads, target, sample);
      REQUIRE(shares.size() == 4);
      // With o the identity and nothing behind it a mixer's output is its heads, side by side.
      for (Decoder* decoder : {model.get(), &converted}) {
        Tensor o = decoder->parameters().at("layers.0.mixer.o.weight").value;
        for (std::int64_t i = 0; i < o.numel(); ++i) o.set(i, i / kWidth == i % kWidth ? 1 : 0);
        if (bias) decoder->parameters().at("layers.0.mixer.o.bias").value.fill(0);
      }
      std::vector<double> errors(4);
      std::vector<double> squares(4);
      for (const auto& batch : sample.batches) {
        Tensor want;
        Tensor got;
        model->visit(batch.tokens, [&](std::size_t, const Mixer& mixer, const LayerInput& input) {
          want = mixer.forward(input).to(kCpu);
        });
        converted.visit(batch.tokens, [&](std::size_t, const Mixer& mixer, const LayerInput& input) {
          got = mixer.forward(input).to(kCpu);
        });
        for (std::int64_t i = 0; i < want.numel(); ++i) {
          const auto head = static_cast<std::size_t>(i % kWidth / 4);
          squares[head] += want.at(i) * want.at(i);
          errors[head] += (got.at(i) - want.at(i)) * (got.at(i) - want.at(i));
        }
      }
      for (std::size_t h = 0; h < 4; ++h) {
        CAPTURE(h);
        CHECK(std::abs(1 - errors[h] / squares[h] - shares[h]) < 1e-9);
        CHECK(shares[h] > 0.05);
      }
    }
  }
}

}  // namespace
}  // namespace mixgrad::test
