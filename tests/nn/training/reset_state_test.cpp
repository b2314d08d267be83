// --reset-state: packed documents are trained on and evaluated as each would be alone, for every mixer.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/rng.h"
#include "nn/data/target_shares.h"
#include "nn/data/token_data.h"
#include "nn/evaluation/evaluation.h"
#include "nn/evaluation/token_losses.h"
#include "nn/tokenizers/ids_tokenizer.h"
#include "nn/training/optimizers/adamw.h"
#include "nn/training/train_step.h"
#include "nn/training/trainer.h"
#include "tests/support/close.h"
#include "tests/support/mixer_laws.h"

namespace mixgrad::test {
namespace {

constexpr std::int32_t kStart = 4;  // stands behind each document
constexpr std::int64_t kWindow = 24;

// Documents of 0 to 11 other tokens, 300 tokens in all, the first 200 for training.
TokenData packed_documents(std::uint64_t seed = 6) {
  Rng rng(seed);
  std::vector<std::int32_t> ids;
  while (ids.size() < 300) {
    const std::uint64_t length = rng.below(12);
    for (std::uint64_t i = 0; i < length; ++i) ids.push_back(static_cast<std::int32_t>(rng.below(kVocabulary - 5)) + 5);
    ids.push_back(kStart);
  }
  ids.resize(300);
  TokenData data = TokenData::from_ids({.ids = ids, .train = 200}, ids_tokenizer(kVocabulary));
  data.set_document_start(kStart);
  return data;
}

ModelConfig window_config(const std::string& pattern, Positions positions) {
  ModelConfig config = decoder_config(pattern, positions, Norm::rmsnorm, Mlp::swiglu, true, true);
  config.context = kWindow;
  return config;
}

struct OneDocument {
  Tensor tokens, targets;  // [1,n]
};

// The documents of windows [B,T], by plain loops.
std::vector<OneDocument> documents_of(const Tensor& tokens, const Tensor& targets) {
  std::vector<OneDocument> all;
  const std::int64_t steps = tokens.dim(1);
  for (std::int64_t b = 0; b < tokens.dim(0); ++b) {
    for (std::int64_t begin = 0, end = 1; begin < steps; begin = end++) {
      while (end < steps && tokens.at(b * steps + end) != kStart) ++end;
      all.push_back({time_slice(tokens.slice(b, b + 1), begin, end), time_slice(targets.slice(b, b + 1), begin, end)});
    }
  }
  return all;
}

struct Learner {
  Decoder model;
  AdamW optimizer;
  TrainStep step;

  Learner(const ModelConfig& config, DType dtype)
      : model(config, {dtype, test_device()}), optimizer(model.parameters(), {}), step(model, optimizer) {
    fill_law_parameters(model.parameters(), 3);
  }
  double accumulate(const TokenData& data, std::int64_t parts) {
    Rng rng(9, 77);
    const Tensor tokens = Tensor::empty({3 * parts, kWindow}, DType::i32);
    const Tensor targets = Tensor::empty({3 * parts, kWindow}, DType::i32);
    return accumulate_batches(step, data, rng, parts, tokens, targets);
  }
};

void check_equal(const Gradients& got, const Gradients& want, double tolerance) {
  for (std::size_t i = 0; i < got.size(); ++i) {
    const Tensor a = got.of(i).to(kCpu);
    const Tensor b = want.of(i).to(kCpu);
    double top = 1e-3;
    double worst = 0;
    for (std::int64_t e = 0; e < a.numel(); ++e) {
      top = std::max(top, std::abs(b.at(e)));
      worst = std::max(worst, std::abs(a.at(e) - b.at(e)));
    }
    CHECK(worst <= tolerance * top);
  }
}

}  // namespace

TEST_CASE("reset state: parts that do not divide the sequences of a step are refused") {
  Learner learner(window_config(decoder_patterns().front(), Positions::rope), DType::f64);
  Rng rng(1, 2);
  const Tensor tokens = Tensor::empty({3, kWindow}, DType::i32);
  const auto error = [&](std::int64_t parts) {
    return error_text<Error>([&] { accumulate_batches(learner.step, packed_documents(), rng, parts, tokens, tokens); });
  };
  CHECK(error(2).find("accumulate_batches: tokens must be [parts B,T] for 2 parts, got [3,") == 0);
  CHECK(error(0) == "accumulate_batches: parts must be at least 1, got 0");
}

TEST_CASE("reset state: a step of packed documents is the mean over the targets of each document alone") {
  const TokenData data = packed_documents();
  for (const std::string& pattern : decoder_patterns()) {
    for (const Positions positions : {Positions::rope, Positions::learned}) {
      for (const std::int64_t parts : {1, 2}) {
        INFO(pattern << (positions == Positions::rope ? " rope " : " learned ") << parts);
        Learner packed(window_config(pattern, positions), DType::f64);
        const double loss = packed.accumulate(data, parts);

        Learner alone(window_config(pattern, positions), DType::f64);
        Rng rng(9, 77);
        const Tensor tokens = Tensor::empty({3 * parts, kWindow}, DType::i32);
        const Tensor targets = Tensor::empty({3 * parts, kWindow}, DType::i32);
        data.sample_batch(rng, tokens, targets);
        const auto all = static_cast<double>(count_targets(targets));
        double want = 0;
        for (const OneDocument& document : documents_of(tokens, targets)) {
          const double divisor = all / static_cast<double>(document.tokens.numel());
          want += alone.step.accumulate(document.tokens, document.targets, divisor) / divisor;
        }
        CHECK(std::abs(loss - want) < 1e-12);
        check_equal(packed.step.gradients(), alone.step.gradients(), 1e-10);

        // And it is something else than windows that are not cut.
        CHECK(std::abs(loss - alone.model.loss(tokens, targets).item()) > 1e-6);
      }
    }
  }
}

TEST_CASE("reset state: the gradient of a packed step is that of its loss along random directions") {
  const TokenData data = packed_documents();
  for (const std::string& pattern : decoder_patterns()) {
    INFO(pattern);
    Learner learner(window_config(pattern, Positions::rope), DType::f64);
    learner.accumulate(data, 2);
    ParameterSet& parameters = learner.model.parameters();
    constexpr double kStep = 1e-6;
    double slope = 0;
    std::vector<Tensor> directions;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      directions.push_back(normal_tensor(parameters[i].shape, DType::f64, 70 + i));
      const Tensor gradient = learner.step.gradients().of(i).to(kCpu);
      for (std::int64_t e = 0; e < gradient.numel(); ++e) slope += gradient.at(e) * directions[i].at(e);
    }
    const auto move = [&](double by) {
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        const Tensor value = parameters[i].value.to(kCpu).clone();
        for (std::int64_t e = 0; e < value.numel(); ++e) value.set(e, value.at(e) + by * directions[i].at(e));
        parameters[i].value.copy_from(value);
      }
    };
    move(kStep);
    const double above = learner.accumulate(data, 2);
    move(-2 * kStep);
    const double below = learner.accumulate(data, 2);
    CHECK(std::abs((above - below) / (2 * kStep) - slope) < 1e-6 * std::max(1.0, std::abs(slope)));
  }
}

TEST_CASE("reset state: the losses of a document are those of the document alone, and evaluations have their mean") {
  const TokenData data = packed_documents();
  for (const std::string& pattern : decoder_patterns()) {
    for (const std::int64_t stride : {0, 7}) {
      INFO(pattern << " stride " << stride);
      const auto model = make_decoder(window_config(pattern, Positions::learned), DType::f64);
      const EvaluationOptions options{.batch = 3, .stride = stride};
      std::vector<TokenLoss> losses;
      const Evaluation tokens = evaluate_tokens(*model, data, data.valid(), options,
                                                [&](const TokenLoss& token) { losses.push_back(token); });
      const Evaluation whole = evaluate(*model, data, data.valid(), options);
      CHECK(whole.targets == 100);
      CHECK(losses.size() == 100);
      CHECK(std::abs(whole.loss - tokens.loss) < 1e-12);
      double sum = 0;
      for (const TokenLoss& token : losses) {
        std::vector<std::int32_t> before(static_cast<std::size_t>(token.position));
        data.gather(token.index - token.position, token.position, before.data());
        for (std::size_t i = 1; i < before.size(); ++i) CHECK(before[i] != kStart);  // at most at the very beginning
        const Tensor logits = model->logits(Tensor::from_i32(before, {1, token.position})).to(kCpu);
        const std::int64_t last = (token.position - 1) * kVocabulary;
        double total = 0;
        for (std::int64_t v = 0; v < kVocabulary; ++v) total += std::exp(logits.at(last + v));
        CHECK(std::abs(token.loss - (std::log(total) - logits.at(last + token.token))) < 1e-12);
        sum += token.loss;
      }
      CHECK(std::abs(sum / 100 - whole.loss) < 1e-12);
    }
  }
}

TEST_CASE("reset state: other tokens in a document change no bit of the losses of the next") {
  std::vector<std::int32_t> ids{5, 6, 7, 8, 9, 10, kStart, 5, 7, 9, 6, 8, kStart, 10, 9, 8};
  const auto losses = [&](const Decoder& model) {
    TokenData data = TokenData::from_ids({.ids = ids, .train = 1}, ids_tokenizer(kVocabulary));
    data.set_document_start(kStart);
    std::vector<double> of_last;
    evaluate_tokens(model, data, data.all(), {.batch = 1}, [&](const TokenLoss& token) {
      if (token.index > 6) of_last.push_back(token.loss);
    });
    return of_last;
  };
  for (const std::string& pattern : decoder_patterns()) {
    INFO(pattern);
    const auto model = make_decoder(window_config(pattern, Positions::rope), DType::f32);
    ids[2] = 7;
    const std::vector<double> before = losses(*model);
    ids[2] = 10;
    CHECK(before == losses(*model));
    CHECK(before.size() == 9);
  }
}

TEST_CASE("reset state: a trainer's steps with dropout are the same each time, and learn") {
  const TokenData data = packed_documents();
  const auto train = [&](double rate) {
    Decoder model(window_config("attention,hsm:scalar", Positions::rope), {DType::f32, test_device()});
    model.parameters().initialize(1);
    AdamW optimizer(model.parameters(), {});
    const auto trainer = make_trainer(model, optimizer, data,
                                      {.batch = 3,
                                       .accumulate = 2,
                                       .schedule = {.lr = 1e-2, .min_lr = 1e-3, .warmup = 3, .steps = 60},
                                       .dropout = DropoutMask::of(rate, 44)});
    CHECK(trainer->steps_under_way() == 1);  // driven by the host on every device
    trainer->start(0, Rng(9, 77));
    for (int i = 0; i < 60; ++i) trainer->queue();
    return trainer->wait().loss;
  };
  const double loss = train(0.2);
  CHECK(loss == train(0.2));
  CHECK(loss != train(0));
  CHECK(loss < 0.9 * std::log(kVocabulary));
}

}  // namespace mixgrad::test
