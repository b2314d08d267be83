// What is true of layers with heads of several kinds: the identities, how parameters start, what decay spares.
#include "nn/mixers/mixed_heads_mixer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "autograd/tape.h"
#include "core/error.h"
#include "tests/support/mixer_laws.h"
#include "tests/support/text.h"

namespace mixgrad::test {
namespace {

ModelConfig with_layers(const std::vector<LayerConfig>& layers, Positions positions = Positions::rope) {
  ModelConfig config = decoder_config("attention", positions, Norm::rmsnorm, Mlp::swiglu, true, true);
  config.layers = layers;
  return config;
}

// The same values in both, wherever names and shapes agree.
void copy_parameters(const Decoder& from, Decoder& to) {
  for (std::size_t i = 0; i < from.parameters().size(); ++i) {
    const Parameter& source = from.parameters()[i];
    to.parameters().find(source.name)->value.copy_from(source.value);
  }
}

struct Run {
  Tensor logits;
  Gradients gradients;
};

Run run_with_gradients(Decoder& model, const Tensor& tokens) {
  Tape tape;
  model.parameters().watch(tape);
  const Tensor loss = model.loss(tokens, tokens);
  Gradients gradients = std::move(tape).backward(loss);
  return {model.logits(tokens), std::move(gradients)};
}

TEST_CASE("recurformer without recurrent groups is the base attention, bit for bit, gradients and decoding too") {
  const Tensor tokens = token_tensor(2, 17, kVocabulary, 1);
  for (const DType dtype : {DType::f64, DType::f32}) {
    for (const std::int64_t kv_heads : {4, 2}) {
      const auto base = make_decoder(with_layers({2, AttentionConfig{4, kv_heads}}), dtype);
      Decoder same(with_layers({2, MixedHeadsConfig{4, kv_heads}}), dtype);
      REQUIRE(same.parameters().size() == base->parameters().size());
      copy_parameters(*base, same);
      const Run want = run_with_gradients(*base, tokens);
      const Run got = run_with_gradients(same, tokens);
      CHECK(got.logits.equal_bits(want.logits));
      CHECK(got.gradients.flat().equal_bits(want.gradients.flat()));
      DecoderState state = base->new_state(2, 17);
      DecoderState same_state = same.new_state(2, 17);
      CHECK(same_state.bytes() == state.bytes());
      CHECK(same.prefill(tokens, same_state).equal_bits(base->prefill(tokens, state)));
      const std::vector<Tensor> ratios = base->recency(tokens, 3);
      const std::vector<Tensor> same_ratios = same.recency(tokens, 3);
      for (std::size_t l = 0; l < 2; ++l) CHECK(same_ratios[l].equal_bits(ratios[l]));
    }
  }
}

TEST_CASE("recurformer whose groups all see a window is attention with that window, bit for bit") {
  const Tensor tokens = token_tensor(2, 17, kVocabulary, 1);
  for (const DType dtype : {DType::f64, DType::f32}) {
    const auto base = make_decoder(with_layers({2, AttentionConfig{.heads = 4, .kv_heads = 2, .window = 5}}), dtype);
    Decoder same(with_layers({2, MixedHeadsConfig{.heads = 4, .kv_heads = 2, .window_groups = {0, 1}, .window = 5}}),
                 dtype);
    copy_parameters(*base, same);
    const Run want = run_with_gradients(*base, tokens);
    const Run got = run_with_gradients(same, tokens);
    CHECK(got.logits.equal_bits(want.logits));
    CHECK(got.gradients.flat().equal_bits(want.gradients.flat()));
    DecoderState state = base->new_state(2, 17);
    DecoderState same_state = same.new_state(2, 17);
    CHECK(same_state.bytes() == state.bytes());
    CHECK(same.prefill(tokens, same_state).equal_bits(base->prefill(tokens, state)));
    const std::vector<Tensor> ratios = base->recency(tokens, 3);
    const std::vector<Tensor> same_ratios = same.recency(tokens, 3);
    for (std::size_t l = 0; l < 2; ++l) CHECK(same_ratios[l].equal_bits(ratios[l]));
  }
}

// A window that no sequence fills changes nothing: so groups with and without one may lie in any order.
TEST_CASE("recurformer: window groups in any order with a window beyond the text give the base's outputs") {
  const Tensor tokens = token_tensor(2, 17, kVocabulary, 1);
  const auto base = make_decoder(with_layers({2, AttentionConfig{8, 4}}), DType::f64);
  const Tensor want = base->logits(tokens);
  const std::vector<Tensor> ratios = base->recency(tokens, 3);
  for (const Sizes& groups : {Sizes{0}, {3}, {1}, {0, 2}, {1, 3}, {0, 3}, {1, 2}, {0, 1, 2}, {0, 1, 3}}) {
    Decoder other(with_layers({2, MixedHeadsConfig{.heads = 8, .kv_heads = 4, .window_groups = groups, .window = 17}}),
                  DType::f64);
    copy_parameters(*base, other);
    CHECK(not_close_to_scale(other.logits(tokens), want, 1e-13, largest_of(want)) == kHolds);
    DecoderState state = other.new_state(2, 17);
    CHECK(not_close_to_scale(other.prefill(tokens, state), want, 1e-13, largest_of(want)) == kHolds);
    const std::vector<Tensor> of_other = other.recency(tokens, 3);
    for (std::size_t l = 0; l < 2; ++l) CHECK(not_close_to_scale(of_other[l], ratios[l], 1e-13, 1) == kHolds);
  }
}

TEST_CASE("recurformer: which softmax heads see a window, in order") {
  const auto model = make_decoder(
      with_layers(
          {MixedHeadsConfig{.heads = 8, .kv_heads = 4, .recurrent_groups = {1}, .window_groups = {0, 3}, .window = 6},
           AttentionConfig{.heads = 2, .kv_heads = 1, .window = 9}}),
      DType::f64);
  CHECK(model->mixer(0).softmax_windows() == Sizes{6, 6, 0, 0, 6, 6});
  CHECK(model->mixer(1).softmax_windows() == Sizes{9, 9});
  CHECK(has(model->mixer(0).describe(),
            "softmax 6 heads of width 2, 3 key/value heads, rotary, 4 heads with a window of "
            "6 tokens"));
  CHECK(model->mixer(1).describe() == "attention, 2 heads of width 8, 1 key/value head, rotary, a window of 9 tokens");
}

TEST_CASE("recurformer without o: the heads side by side are the output; the last product starts smaller") {
  ModelConfig config =
      with_layers({MixedHeadsConfig{.heads = 1, .kv_heads = 1, .recurrent_groups = {0}, .d_state = 3, .o = false}});
  Decoder model(config, DType::f64);
  CHECK(model.parameters().find("layers.0.mixer.o.weight") == nullptr);
  CHECK(model.parameters().find("layers.0.mixer.o.bias") == nullptr);
  model.parameters().initialize(3);
  const double bound = 1 / std::sqrt(2.0) / std::sqrt(32.0);  // one layer with an MLP: two additions
  const double largest = largest_of(model.parameters().at("layers.0.mixer.mamba.out_proj.weight").value);
  CHECK(largest <= bound);
  CHECK(largest > 0.9 * bound);
}

TEST_CASE("recurformer: one layer of shift heads alone is hsm scalar with v and o") {
  const ModelConfig mixed =
      with_layers({MixedHeadsConfig{.heads = 4, .kv_heads = 4, .shift_groups = {0, 1, 2, 3}, .shifts = {1, 3, 2, 9}}});
  const ModelConfig hsm =
      with_layers({HsmConfig{HsmVariant::scalar, 4, {1, 3, 2, 9}, HsmProjection::vo, Boundary::zero}});
  const auto shift_model = make_decoder(mixed, DType::f64);
  Decoder hsm_model(hsm, DType::f64);
  for (std::size_t i = 0; i < shift_model->parameters().size(); ++i) {
    const Parameter& from = shift_model->parameters()[i];
    std::string name = from.name;
    const std::size_t at = name.find("shift.");
    if (at != std::string::npos) name.erase(at, 6);
    hsm_model.parameters().find(name)->value.copy_from(from.value);
  }
  const Tensor tokens = token_tensor(2, 17, kVocabulary, 1);
  CHECK(shift_model->logits(tokens).equal_bits(hsm_model.logits(tokens)));
}

// Blocks of `size` along the first axis (or, for columns, the last) of x in another order: block i of the result is
// block order[i] of x.
Tensor reordered(const Tensor& x, const Sizes& order, std::int64_t size, bool along_columns) {
  const Tensor y = x.clone();
  const std::int64_t columns = x.shape().rank() == 1 ? 1 : x.numel() / x.dim(0);
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    std::int64_t row = i / columns;
    std::int64_t column = i % columns;
    std::int64_t& moved = along_columns ? column : row;
    moved = order[static_cast<std::size_t>(moved / size)] * size + moved % size;
    y.set(i, x.at(row * columns + column));
  }
  return y;
}

TEST_CASE("recurformer: with the heads in another order, and their parameters with them, the logits are the same") {
  // Six heads of width 4 in three groups of two; one group of each kind, in two orders.
  ModelConfig config = with_layers({}, Positions::rope);
  config.d_model = 24;
  MixedHeadsConfig layer{.heads = 6, .kv_heads = 6, .recurrent_groups = {1, 4}, .d_state = 3, .d_conv = 3};
  layer.shift_groups = {0, 5};
  layer.shifts = {2, 5};
  config.layers = {layer};
  const auto model = make_decoder(config, DType::f64);
  // Softmax heads 2, 3 become 5, 0; Mamba 1, 4 become 4, 2; shift 0, 5 become 3, 1.
  const Sizes new_slot{3, 4, 5, 0, 2, 1};
  MixedHeadsConfig moved = layer;
  moved.recurrent_groups = {2, 4};
  moved.shift_groups = {1, 3};
  moved.shifts = {5, 2};
  config.layers = {moved};
  Decoder other(config, DType::f64);
  Sizes old_of(6);
  for (std::size_t h = 0; h < 6; ++h) old_of[static_cast<std::size_t>(new_slot[h])] = static_cast<std::int64_t>(h);
  for (std::size_t i = 0; i < model->parameters().size(); ++i) {
    const Parameter& from = model->parameters()[i];
    const Tensor& to = other.parameters().find(from.name)->value;
    const auto ends = [&](const char* text) { return from.name.find(text) != std::string::npos; };
    if (ends(".qkv.")) {
      to.copy_from(reordered(from.value, {1, 0, 3, 2, 5, 4}, 4, false));  // both heads of q, k and v are exchanged
    } else if (ends(".mamba.")) {
      to.copy_from(reordered(from.value, {1, 0}, 1, false));
    } else if (ends(".shift.v.")) {
      to.copy_from(reordered(from.value, {1, 0}, 4, false));
    } else if (ends(".shift.")) {
      to.copy_from(reordered(from.value, {1, 0}, 1, false));
    } else if (ends("mixer.o.weight")) {
      to.copy_from(reordered(from.value, old_of, 4, true));
    } else {
      to.copy_from(from.value);
    }
  }
  const Tensor tokens = token_tensor(2, 23, kVocabulary, 1);
  const Tensor want = model->logits(tokens);
  CHECK(not_close_to_scale(other.logits(tokens), want, 1e-12, largest_of(want)) == kHolds);
}

TEST_CASE("recurformer: recency ratios are those of the softmax heads, in order") {
  const auto model =
      make_decoder(with_layers({MixedHeadsConfig{.heads = 4, .kv_heads = 4, .recurrent_groups = {1}},
                                HsmConfig{HsmVariant::scalar, 1, {1}},
                                MixedHeadsConfig{.heads = 4, .kv_heads = 4, .recurrent_groups = {0, 1, 2, 3}}}),
                   DType::f64);
  const std::vector<Tensor> ratios = model->recency(token_tensor(2, 17, kVocabulary, 1), 3);
  REQUIRE(ratios.size() == 3);
  CHECK(ratios[0].shape() == Shape{3});
  CHECK_FALSE(ratios[1].defined());
  CHECK_FALSE(ratios[2].defined());
}

TEST_CASE("recurformer: parameters start as the Mamba block's, shift heads at a = b = 1/sqrt(2)") {
  ModelConfig config = with_layers({MixedHeadsConfig{
      .heads = 4, .kv_heads = 4, .recurrent_groups = {0, 2}, .dt_rank = 4, .shift_groups = {3}, .shifts = {1}}});
  config.d_model = 64;
  Decoder model(config, DType::f32);
  model.parameters().initialize(7);
  const auto values = [&](const std::string& name) {
    const Parameter* found = model.parameters().find("layers.0.mixer." + name);
    REQUIRE(found != nullptr);
    return found->value.to_vector();
  };
  const auto within = [](const std::vector<double>& x, double low, double high) {
    const auto [least, most] = std::minmax_element(x.begin(), x.end());
    const double margin = 0.1 * (high - low);  // all of the range is used
    return *least >= low && *most <= high && *least<low + margin&& * most> high - margin;
  };
  const std::vector<double> a_log = values("mamba.A_log");
  for (std::size_t i = 0; i < a_log.size(); ++i) {
    CHECK(std::abs(a_log[i] - std::log(static_cast<double>(i % 16 + 1))) < 1e-6);
  }
  for (const double d : values("mamba.D")) CHECK(d == 1);
  CHECK(within(values("mamba.dt_proj.weight"), -0.5, 0.5));
  CHECK(within(values("mamba.in_proj.weight"), -0.125, 0.125));
  CHECK(within(values("mamba.conv.weight"), -0.5, 0.5));
  CHECK(within(values("mamba.conv.bias"), -0.5, 0.5));
  std::vector<double> steps;
  for (const double bias : values("mamba.dt_proj.bias")) steps.push_back(std::log(std::log1p(std::exp(bias))));
  CHECK(within(steps, std::log(1e-3) - 1e-5, std::log(1e-1) + 1e-5));
  CHECK(std::abs(values("shift.a")[0] - std::sqrt(0.5)) < 1e-7);
  CHECK(std::abs(values("shift.b")[0] - std::sqrt(0.5)) < 1e-7);
  std::map<std::string, bool> decays;
  for (std::size_t i = 0; i < model.parameters().size(); ++i) {
    decays[model.parameters()[i].name] = model.parameters()[i].decay;
  }
  for (const char* name : {"qkv.weight", "o.weight", "mamba.in_proj.weight", "mamba.conv.weight", "mamba.x_proj.weight",
                           "mamba.dt_proj.weight", "mamba.out_proj.weight", "shift.v.weight"}) {
    CHECK(decays.at(std::string("layers.0.mixer.") + name));
  }
  for (const char* name : {"qkv.bias", "o.bias", "mamba.conv.bias", "mamba.dt_proj.bias", "mamba.A_log", "mamba.D",
                           "shift.v.bias", "shift.a", "shift.b"}) {
    CHECK_FALSE(decays.at(std::string("layers.0.mixer.") + name));
  }
}

TEST_CASE("recurformer: a Mamba model's state is the same after 10,000 tokens, in bytes and in allocations") {
  const OneThread one_thread;
  ModelConfig config =
      with_layers({2, MixedHeadsConfig{.heads = 4, .kv_heads = 4, .recurrent_groups = {0, 1, 2, 3}}}, Positions::none);
  const auto model = make_decoder(config, DType::f32);
  DecoderState state = model->new_state(1, 1);
  const Tensor token = token_tensor(1, 1, kVocabulary, 1);
  for (int i = 0; i < 100; ++i) model->step(token, state);
  const std::size_t bytes = state.bytes();
  const PoolStats before = pool_stats(kCpu);
  for (int i = 0; i < 9900; ++i) model->step(token, state);
  CHECK(state.bytes() == bytes);
  CHECK(state.position() == 10000);
  CHECK(pool_stats(kCpu).in_use == before.in_use);
  CHECK(pool_stats(kCpu).system_allocations == before.system_allocations);
}

}  // namespace
}  // namespace mixgrad::test
