// The trainer that the host drives: it draws the batches that a loop by hand draws, halts at a number that is not
// finite and harms nothing. That of a CUDA device: graph_trainer_test.cpp.
#include "nn/training/trainer.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>

#include "nn/data/token_data.h"
#include "nn/tokenizers/char_tokenizer.h"
#include "nn/training/diagnosis/explain.h"
#include "nn/training/host_trainer.h"
#include "nn/training/optimizers/adamw.h"
#include "tests/support/close.h"
#include "tests/support/model_forms.h"

namespace mixgrad::test {
namespace {

const std::string kTrainerLetters = "abcdefghij\n";  // as many as kVocabulary

TokenData trainer_text() {
  std::string text = kTrainerLetters;
  Rng rng(5);
  for (int i = 0; i < 600; ++i) text += kTrainerLetters[static_cast<std::size_t>(rng.below(kTrainerLetters.size()))];
  return TokenData::from_text(text, char_tokenizer(text, "test"), "test");
}

struct HostRun {
  TokenData data = trainer_text();
  Decoder model{decoder_config("attention", Positions::rope, Norm::layernorm, Mlp::gelu, true, true), DType::f32};
  AdamW optimizer{model.parameters(), {}};
  Schedule schedule{.lr = 1e-2, .min_lr = 1e-3, .warmup = 3, .steps = 40};

  HostRun() { model.parameters().initialize(1); }

  std::unique_ptr<Trainer> trainer() {
    auto made = make_trainer(model, optimizer, data, {.batch = 3, .accumulate = 2, .schedule = schedule});
    made->start(0, Rng(9, 77));
    return made;
  }
};

TEST_CASE("trainer: steps on the host are those of a loop by hand") {
  HostRun run;
  const auto trainer = run.trainer();
  CHECK(trainer->steps_under_way() == 1);
  for (int i = 0; i < 5; ++i) trainer->queue();
  const Trainer::Result result = trainer->wait();

  HostRun hand;
  TrainStep step(hand.model, hand.optimizer);
  const Tensor tokens = Tensor::empty({3, kContext}, DType::i32);
  const Tensor targets = Tensor::empty({3, kContext}, DType::i32);
  Rng rng(9, 77);
  double loss = 0;
  double norm = 0;
  for (std::int64_t t = 0; t < 5; ++t) {
    loss = 0;
    for (int part = 0; part < 2; ++part) {
      hand.data.sample_batch(rng, tokens, targets);
      loss += step.accumulate(tokens, targets, 2) / 2;
    }
    norm = step.apply(hand.schedule.at(t));
  }
  CHECK(result.loss == loss);
  CHECK(result.gradient_norm == norm);
  CHECK(result.learning_rate == hand.schedule.at(4));
  CHECK(result.step == 5);
  CHECK(result.rng_counter == rng.counter());
  CHECK_FALSE(result.halted);
  CHECK(run.optimizer.steps() == 5);
  CHECK(run.model.parameters().flat().equal_bits(hand.model.parameters().flat()));
}

TEST_CASE("trainer: a loss that is not finite halts it; queued steps change nothing until it is started again") {
  HostRun run;
  const auto trainer = run.trainer();
  for (int i = 0; i < 4; ++i) trainer->queue();
  const Trainer::Result before = trainer->wait();
  Parameter& poisoned = *run.model.parameters().find("layers.0.mlp.up.weight");
  const double good = poisoned.value.at(3);
  poisoned.value.set(3, std::numeric_limits<double>::quiet_NaN());
  const Tensor moments = run.optimizer.first_moment().clone();
  const Tensor weights = run.model.parameters().flat().clone();
  for (int i = 0; i < 3; ++i) trainer->queue();
  const Trainer::Result halted = trainer->wait();
  CHECK(halted.halted);
  CHECK(std::isnan(halted.loss));
  CHECK(halted.step == 4);
  CHECK(halted.learning_rate == run.schedule.at(4));
  CHECK(halted.rng_counter == before.rng_counter);
  CHECK(run.optimizer.steps() == 4);
  CHECK(run.optimizer.first_moment().equal_bits(moments));
  CHECK(run.model.parameters().flat().equal_bits(weights));
  CHECK(explain_not_finite(run.model, run.optimizer, run.data, Rng(9, halted.rng_counter), 3, 2)
            .starts_with("parameter layers.0.mlp.up.weight, f32 "));

  poisoned.value.set(3, good);
  trainer->start(halted.step, Rng(9, halted.rng_counter));
  for (int i = 0; i < 2; ++i) trainer->queue();
  CHECK(trainer->wait().step == 6);
  HostRun straight;
  const auto other = straight.trainer();
  for (int i = 0; i < 6; ++i) other->queue();
  CHECK(other->wait().loss == trainer->wait().loss);
  CHECK(run.model.parameters().flat().equal_bits(straight.model.parameters().flat()));
}

// The MLP's output is finite, the squares that the norm of the next layer adds up are not.
TEST_CASE("trainer: the explanation names the operator whose output overflows") {
  HostRun run;
  run.model.parameters().find("layers.0.norm2.weight")->value.fill(1e38);
  const std::string text = explain_not_finite(run.model, run.optimizer, run.data, Rng(9, 77), 3, 1);
  INFO(text);
  CHECK(text.find(" (operator ") != std::string::npos);
  CHECK(text.find("layers.1.") != std::string::npos);
}

}  // namespace
}  // namespace mixgrad::test
