// Dropout in a model: the places of its masks, their law, and that it changes nothing when the rate is 0.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "core/numeric/dropout_bits.h"
#include "core/parallel.h"
#include "nn/data/token_data.h"
#include "nn/evaluation/evaluation.h"
#include "nn/model/decoder.h"
#include "nn/tokenizers/char_tokenizer.h"
#include "nn/training/host_trainer.h"
#include "nn/training/optimizers/adamw.h"
#include "nn/training/train_step.h"
#include "nn/training/trainer.h"
#include "ops/attention/attention.h"
#include "ops/dropout/dropout.h"
#include "ops/dropout/dropout_factors.h"
#include "ops/elementwise/elementwise.h"
#include "ops/embedding/embedding.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/linear/linear.h"
#include "ops/linear_cross_entropy/linear_cross_entropy.h"
#include "tests/support/close.h"
#include "tests/support/device.h"
#include "tests/support/model_forms.h"

namespace mixgrad::test {
namespace {

DropoutMask model_mask(double rate, std::int64_t step = 5) { return DropoutMask::of(rate, 31).in_step(step, 2, 1); }

struct DropoutModel {
  Decoder model;
  Tensor tokens = token_tensor(2, kContext, kVocabulary, 3), targets = token_tensor(2, kContext, kVocabulary, 4);

  explicit DropoutModel(const std::string& pattern, DType dtype = DType::f64, Mlp mlp = Mlp::gelu)
      : model(decoder_config(pattern, Positions::rope, Norm::layernorm, mlp, true, true), {dtype, test_device()}) {
    model.parameters().initialize(2);
  }
  double loss(const DropoutMask& mask) const { return model.loss(tokens, targets, mask).item(); }
};

TEST_CASE("dropout mask: the share that is left out, and what it depends on") {
  constexpr std::int64_t kElements = 100'000;
  const auto bits_of = [](const DropoutMask& mask) {
    std::vector<bool> kept;
    for (std::int64_t i = 0; i < kElements; ++i) kept.push_back(keeps(mask, static_cast<std::uint64_t>(i)));
    return kept;
  };
  const auto share = [](const std::vector<bool>& kept) {
    return static_cast<double>(std::count(kept.begin(), kept.end(), false)) / static_cast<double>(kept.size());
  };
  for (const double rate : {0.01, 0.2, 0.5, 0.9}) {
    const DropoutMask mask = DropoutMask::of(rate, 7).in_step(3, 2, 1).at(4);
    const std::vector<bool> kept = bits_of(mask);
    const double deviation = std::sqrt(rate * (1 - rate) / static_cast<double>(kElements));
    CHECK(std::abs(share(kept) - rate) < 4 * deviation);
    CHECK(std::abs(mask.scale() - 1 / (1 - rate)) < 1e-8);
    CHECK(bits_of(mask) == kept);
    // Another seed, step, micro-batch or place: as many agree as by chance.
    for (const DropoutMask& other :
         {DropoutMask::of(rate, 8).in_step(3, 2, 1).at(4), mask.in_step(4, 2, 1), mask.in_step(3, 2, 0), mask.at(5)}) {
      const std::vector<bool> others = bits_of(other);
      std::int64_t agree = 0;
      for (std::size_t i = 0; i < kept.size(); ++i) agree += kept[i] == others[i] ? 1 : 0;
      const double expected = rate * rate + (1 - rate) * (1 - rate);
      CHECK(std::abs(static_cast<double>(agree) / static_cast<double>(kElements) - expected) < 0.01);
    }
  }
  CHECK_FALSE(DropoutMask::of(0, 1).active());
  CHECK(DropoutMask::of(1e-30, 1).threshold == 1);
  CHECK(DropoutMask::of(0.99999999999, 1).threshold == 0xffffffffU);
  // Step s with n micro-batches has the numbers n s ... n s + n - 1, so that no two micro-batches share a mask.
  std::set<std::uint64_t> streams;
  for (std::int64_t step = 0; step < 5; ++step) {
    for (std::int64_t part = 0; part < 3; ++part) streams.insert(DropoutMask().in_step(step, 3, part).stream());
  }
  CHECK(streams.size() == 15);
  CHECK(*streams.begin() == 1);  // 0 belongs to Rng
}

TEST_CASE("dropout mask: groups of words are those of the generator") {
  std::array<std::uint32_t, 4 * cpu::kDropoutBlocks> words{};
  for (const std::uint64_t first : {std::uint64_t{0}, std::uint64_t{0xfffffff0}, std::uint64_t{1} << 40U}) {
    const DropoutMask mask = DropoutMask::of(0.5, 0x123456789abcdefU).in_step(1'000'000'007, 3, 2).at(65535);
    cpu::dropout_words(mask, mask.stream(), first, words);
    for (std::size_t b = 0; b < cpu::kDropoutBlocks; ++b) {
      const RandomBits bits = dropout_bits(mask, mask.stream(), first + b);
      for (std::size_t w = 0; w < 4; ++w) REQUIRE(words[4 * b + w] == bits.words[w]);
    }
  }
}

TEST_CASE(
    "dropout: a model with rate 0 has the bits of one without, every softmax layer and every addition has a mask") {
  for (const std::string& pattern : decoder_patterns()) {
    INFO(pattern);
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      const DropoutModel m(pattern, dtype);
      const double plain = m.model.loss(m.tokens, m.targets).item();
      CHECK(m.loss(DropoutMask::of(0, 31).in_step(3, 1, 0)) == plain);
      const double dropped = m.loss(model_mask(0.3));
      CHECK(dropped != plain);
      CHECK(std::isfinite(dropped));
      CHECK(m.loss(model_mask(0.3)) == dropped);
      CHECK(m.loss(model_mask(0.3, 6)) != dropped);
    }
  }
}

// The whole forward pass of one softmax layer, from operators.
TEST_CASE("dropout: a layer is the operators one by one, each with its own mask") {
  ModelConfig config =
      decoder_config("attention(heads=2)", Positions::learned, Norm::layernorm, Mlp::gelu, true, false);
  config.layers.erase(config.layers.begin() + 1, config.layers.end());
  Decoder model(config, {DType::f64, test_device()});
  model.parameters().initialize(2);
  const ParameterSet& p = model.parameters();
  const auto value = [&](const std::string& name) { return p.at(name).value; };
  const Tensor tokens = token_tensor(2, kContext, kVocabulary, 3).to(test_device());
  const Tensor targets = token_tensor(2, kContext, kVocabulary, 4).to(test_device());
  const DropoutMask mask = model_mask(0.4);
  const double eps = config.norm_eps;
  // Places: 0, and of layer 0 attention 1 (four of them), the mixer's addition 5, the MLP's 6.
  Tensor x = dropout(embedding(tokens, value("embed.weight"), value("pos.weight"), 0), mask.at(0));
  const Tensor u = layer_norm(x, value("layers.0.norm1.weight"), Tensor(), eps);
  const Tensor qkv = linear(u, value("layers.0.mixer.qkv.weight"));
  const Tensor attended =
      attention(columns(qkv, 0, kWidth), columns(qkv, kWidth, 2 * kWidth), columns(qkv, 2 * kWidth, 3 * kWidth),
                {.heads = 2, .kv_heads = 2, .dropout = mask.at(1)});
  x = add(x, dropout(linear(attended, value("layers.0.mixer.o.weight")), mask.at(5)));
  const Tensor hidden =
      gelu(linear(layer_norm(x, value("layers.0.norm2.weight"), Tensor(), eps), value("layers.0.mlp.up.weight")));
  x = add(x, dropout(linear(hidden, value("layers.0.mlp.down.weight")), mask.at(6)));
  const Tensor last = layer_norm(x, value("norm.weight"), Tensor(), eps);
  const double want = linear_cross_entropy(last, value("embed.weight"), targets).item();
  CHECK(std::abs(model.loss(tokens, targets, mask).item() - want) < 1e-12);
}

TEST_CASE("dropout: the gradients of whole models are those of central differences along a random direction") {
  for (const std::string& pattern : decoder_patterns()) {
    INFO(pattern);
    DropoutModel m(pattern);
    const DropoutMask mask = model_mask(0.25);
    Gradients gradients = m.model.parameters().new_gradients();
    {
      Tape tape;
      m.model.parameters().watch(tape);
      const Tensor loss = m.model.loss(m.tokens, m.targets, mask);
      std::move(tape).backward(loss, gradients, 1.0);
    }
    const Tensor direction = normal_tensor(m.model.parameters().flat().shape(), DType::f64, 8).to(test_device());
    const Tensor start = m.model.parameters().flat().to(kCpu).to(DType::f64);
    const Tensor along = direction.to(kCpu);
    double want = 0;
    const FlatLayout layout(m.model.parameters().shapes());
    for (std::size_t i = 0; i < m.model.parameters().size(); ++i) {
      const Tensor g = gradients.of(i).to(kCpu);
      for (std::int64_t k = 0; k < g.numel(); ++k) want += g.at(k) * along.at(layout.offsets[i] + k);
    }
    const auto loss_at = [&](double h) {
      const Tensor moved = Tensor::empty(start.shape(), DType::f64);
      for (std::int64_t i = 0; i < start.numel(); ++i) moved.set(i, start.at(i) + h * along.at(i));
      m.model.parameters().flat().copy_from(moved.to(test_device()));
      return m.loss(mask);
    };
    constexpr double kStep = 1e-6;
    const double got = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
    CHECK(std::abs(got - want) < 1e-6 * std::max(1.0, std::abs(want)));
  }
}

struct DropoutRun {
  TokenData data;
  Decoder model{decoder_config("attention,hsm:scalar", Positions::rope, Norm::layernorm, Mlp::gelu, true, true),
                {DType::f32, test_device()}};
  AdamW optimizer{model.parameters(), {}};
  Schedule schedule{.lr = 1e-2, .min_lr = 1e-3, .warmup = 3, .steps = 40};

  DropoutRun() : data(text()) { model.parameters().initialize(1); }
  static TokenData text() {
    std::string letters = "abcdefghij\n";
    const std::string kinds = letters;
    Rng rng(5);
    for (int i = 0; i < 600; ++i) letters += kinds[static_cast<std::size_t>(rng.below(kinds.size()))];
    return TokenData::from_text(letters, char_tokenizer(kinds, "test"), "test");
  }
  // From step `begin` to `end`.
  Trainer::Result train(std::int64_t begin, std::int64_t end, std::uint64_t counter, double rate,
                        std::int64_t accumulate = 2) {
    const auto trainer = make_trainer(
        model, optimizer, data,
        {.batch = 3, .accumulate = accumulate, .schedule = schedule, .dropout = DropoutMask::of(rate, 44)});
    trainer->start(begin, Rng(9, counter));
    for (std::int64_t i = begin; i < end; ++i) trainer->queue();
    return trainer->wait();
  }
};

TEST_CASE("dropout: a trainer takes the mask of each step and micro-batch, also when it continues, for any threads") {
  DropoutRun hand;
  TrainStep step(hand.model, hand.optimizer);
  const Tensor tokens = Tensor::empty({3, kContext}, DType::i32);
  const Tensor targets = Tensor::empty({3, kContext}, DType::i32);
  Rng rng(9, 77);
  double loss = 0;
  for (std::int64_t t = 0; t < 8; ++t) {
    loss = 0;
    for (std::int64_t part = 0; part < 2; ++part) {
      hand.data.sample_batch(rng, tokens, targets);
      loss += step.accumulate(tokens, targets, 2, DropoutMask::of(0.3, 44).in_step(t, 2, part)) / 2;
    }
    step.apply(hand.schedule.at(t));
  }
  DropoutRun whole;
  const Trainer::Result result = whole.train(0, 8, 77, 0.3);
  CHECK(result.loss == loss);
  CHECK(whole.model.parameters().flat().equal_bits(hand.model.parameters().flat()));
  DropoutRun parts;
  parts.train(5, 8, parts.train(0, 5, 77, 0.3).rng_counter, 0.3);
  CHECK(parts.model.parameters().flat().equal_bits(whole.model.parameters().flat()));
  for (const int count : {1, 3}) {
    const ContextScope scope(Context{.threads = count});
    DropoutRun again;
    again.train(0, 8, 77, 0.3);
    CHECK(again.model.parameters().flat().equal_bits(whole.model.parameters().flat()));
  }
  DropoutRun without;
  without.train(0, 8, 77, 0);
  CHECK_FALSE(without.model.parameters().flat().equal_bits(whole.model.parameters().flat()));
  // Evaluation leaves out nothing.
  CHECK(evaluate(whole.model, whole.data, whole.data.valid()).loss ==
        evaluate(whole.model, whole.data, whole.data.valid()).loss);
}

TEST_CASE("dropout: softmax groups with and without a window have masks of their own") {
  const Tensor x = normal_tensor({1, kContext, kWidth}, DType::f64, 5);
  const DropoutMask mask = model_mask(0.5);
  const std::int64_t half = kWidth / 2;
  const auto heads = [&](const DropoutMask& of) {
    return attention(x.column_view(0, half), x.column_view(0, half), x.column_view(half, kWidth), {.dropout = of});
  };
  CHECK_FALSE(heads(mask.at(1)).equal_bits(heads(mask.at(2))));
  ModelConfig config = decoder_config("recurformer(groups=1,window_groups=0|2,window=1000,d_state=2)", Positions::rope,
                                      Norm::layernorm, Mlp::gelu, true, true);
  Decoder model(config, {DType::f64, test_device()});
  model.parameters().initialize(2);
  const Tensor tokens = token_tensor(2, kContext, kVocabulary, 3);
  CHECK(std::isfinite(model.loss(tokens, tokens, mask).item()));
}

}  // namespace
}  // namespace mixgrad::test
