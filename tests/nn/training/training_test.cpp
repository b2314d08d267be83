// Training as a whole: a tiny model learns what it can learn, starts where it must, and survives what goes wrong.
#include "nn/training/optimizers/adamw.h"
#include "nn/training/train_step.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/support/close.h"
#include "tests/support/mixer_laws.h"

namespace mixgrad::test {
namespace {

// A model as training starts it.
struct Run {
  Decoder model;
  AdamW optimizer;
  TrainStep step;

  Run(const ModelConfig& config, DType dtype, const AdamWOptions& options = {}, std::uint64_t seed = 1)
      : model(config, dtype), optimizer(model.parameters(), options), step(model, optimizer) {
    model.parameters().initialize(seed);
  }
};

ModelConfig small(const std::string& pattern, Positions positions = Positions::learned) {
  return decoder_config(pattern, positions, Norm::layernorm, Mlp::gelu, true, true);
}

TEST_CASE("training: four random sequences are learned by heart, in f64 and in f32") {
  const OneThread one_thread;
  constexpr std::int64_t kSteps = 12;
  const Tensor text = token_tensor(4, kSteps + 1, kVocabulary, 11);
  for (std::int64_t b = 0; b < 4; ++b) text.set(b * (kSteps + 1), static_cast<double>(b));  // told apart at the start
  const Tensor tokens = time_slice(text, 0, kSteps);
  const Tensor targets = time_slice(text, 1, kSteps + 1);
  for (const std::string pattern : {"attention", "hsm:scalar,attention", "hsm:vector(proj=vo,heads=4)"}) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      INFO(pattern << " " << std::string(dtype_name(dtype)));
      ModelConfig config = small(pattern);
      config.layers = expand_mixer_pattern(pattern, {.layers = 3, .heads = 4, .context = 12});
      config.d_ff = 64;
      Run run(config, dtype, {.weight_decay = 0});
      int needed = 0;
      double loss = run.step.run(tokens, targets, 1e-2).loss;
      CHECK(std::abs(loss - std::log(kVocabulary)) < 0.1);
      while (loss >= 0.05 && ++needed < 400) loss = run.step.run(tokens, targets, 1e-2).loss;
      CHECK(loss < 0.05);
      // What was learned is what the decoder says, token by token.
      DecoderState state = run.model.new_state(4, kSteps);
      int right = 0;
      for (std::int64_t t = 0; t < kSteps; ++t) {
        const Tensor logits = run.model.step(time_slice(tokens, t, t + 1), state);
        for (std::int64_t b = 0; b < 4; ++b) {
          std::int64_t best = 0;
          for (std::int64_t v = 0; v < kVocabulary; ++v) {
            if (logits.at(b * kVocabulary + v) > logits.at(b * kVocabulary + best)) best = v;
          }
          right += static_cast<double>(best) == targets.at(b * kSteps + t) ? 1 : 0;
        }
      }
      CHECK(right == 4 * kSteps);
    }
  }
}

TEST_CASE("training: the token of three steps ago is learned as a rule by attention and by a shift of three") {
  const OneThread one_thread;
  constexpr std::int64_t kSteps = 16;
  for (const std::string pattern : {"attention", "hsm:scalar(shifts=3,proj=v),hsm:scalar(shifts=1)"}) {
    INFO(pattern);
    Run run(small(pattern), DType::f32, {.weight_decay = 0});
    double loss = 0;
    for (std::uint64_t i = 0; i < 600; ++i) {  // fresh sequences each time: nothing can be learned by heart
      const Tensor tokens = token_tensor(8, kSteps, kVocabulary, 1000 + i);
      const Tensor targets = Tensor::full(tokens.shape(), DType::i32, -1);
      for (std::int64_t k = 0; k < tokens.numel(); ++k) {
        if (k % kSteps >= 3) targets.set(k, tokens.at(k - 3));
      }
      loss = run.step.run(tokens, targets, 1e-2).loss;
      if (loss < 0.05) break;
    }
    CHECK(loss < 0.05);
  }
}

TEST_CASE("training: the first loss is ln V, for every decoder") {
  const OneThread one_thread;
  for (const DecoderForm& form : decoder_forms()) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      INFO(form.name << " " << std::string(dtype_name(dtype)));
      Decoder model(form.config, dtype);
      model.parameters().initialize(7);
      const double loss = model.loss(token_tensor(4, 30, kVocabulary, 1), token_tensor(4, 30, kVocabulary, 2)).item();
      CHECK(std::abs(loss - std::log(kVocabulary)) < 0.03);
    }
  }
}

TEST_CASE("training: f32 follows f64") {
  const OneThread one_thread;
  for (const DecoderForm& form : {decoder_forms()[8], decoder_forms()[25]}) {
    INFO(form.name);
    Run exact(form.config, DType::f64);
    Run rounded(form.config, DType::f32);
    const Tensor tokens = token_tensor(4, 20, kVocabulary, 1);
    const Tensor targets = token_tensor(4, 20, kVocabulary, 2);
    for (int i = 0; i < 20; ++i) {
      const StepResult want = exact.step.run(tokens, targets, 1e-3);
      const StepResult got = rounded.step.run(tokens, targets, 1e-3);
      CHECK(std::abs(got.loss - want.loss) < 1e-5 * want.loss);
      CHECK(std::abs(got.gradient_norm - want.gradient_norm) < 1e-3 * want.gradient_norm);
    }
  }
}

TEST_CASE("training: a batch without any target has loss 0, and its step is weight decay alone") {
  const OneThread one_thread;
  for (const DecoderForm& form : decoder_forms()) {
    INFO(form.name);
    Run run(form.config, DType::f64, {.weight_decay = 0.5});
    ParameterSet& parameters = run.model.parameters();
    fill_law_parameters(parameters, 3);
    std::vector<Tensor> before;
    for (std::size_t i = 0; i < parameters.size(); ++i) before.push_back(parameters[i].value.clone());
    const Tensor none = Tensor::full({2, 7}, DType::i32, -1);
    const StepResult result = run.step.run(token_tensor(2, 7, kVocabulary, 1), none, 0.5);
    CHECK(result.loss == 0);
    CHECK(result.gradient_norm == 0);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const Parameter& parameter = parameters[i];
      for (std::int64_t e = 0; e < parameter.value.numel(); ++e) {
        before[i].set(e, before[i].at(e) * (parameter.decay ? 0.75 : 1));
      }
      CHECK_MESSAGE(parameter.value.equal_bits(before[i]), parameter.name);
    }
  }
}

TEST_CASE("training: targets of -1 do not count") {
  const OneThread one_thread;
  const auto model = make_decoder(decoder_forms()[24].config, DType::f64);
  const Tensor tokens = token_tensor(2, 7, kVocabulary, 1);
  const Tensor targets = token_tensor(2, 7, kVocabulary, 2);
  const Tensor logits = model->logits(tokens);
  double sum = 0;
  int count = 0;
  for (std::int64_t r = 0; r < 14; ++r) {
    if (r % 3 == 1) {
      targets.set(r, -1);
      continue;
    }
    double exponentials = 0;
    for (std::int64_t v = 0; v < kVocabulary; ++v) exponentials += std::exp(logits.at(r * kVocabulary + v));
    sum += std::log(exponentials) - logits.at(r * kVocabulary + static_cast<std::int64_t>(targets.at(r)));
    ++count;
  }
  CHECK(std::abs(model->loss(tokens, targets).item() - sum / count) < 1e-13 * sum / count);
}

TEST_CASE("training: a loss that is not a number changes nothing, and the next good step is taken") {
  const OneThread one_thread;
  const ModelConfig config = small("hsm:scalar,attention");
  Run run(config, DType::f32);
  Run other(config, DType::f32);
  const Tensor tokens = token_tensor(2, 9, kVocabulary, 1);
  const Tensor targets = token_tensor(2, 9, kVocabulary, 2);
  run.step.run(tokens, targets, 1e-2);
  other.step.run(tokens, targets, 1e-2);
  const Tensor weight = run.model.parameters().find("layers.0.mlp.up.weight")->value;
  const double value = weight.at(5);
  weight.set(5, std::numeric_limits<double>::quiet_NaN());
  const StepResult result = run.step.run(tokens, targets, 1e-2);
  CHECK_FALSE(std::isfinite(result.loss));
  CHECK_FALSE(std::isfinite(result.gradient_norm));
  CHECK(run.optimizer.steps() == 1);
  weight.set(5, value);
  CHECK(run.model.parameters().flat().equal_bits(other.model.parameters().flat()));
  run.step.run(tokens, targets, 1e-2);  // nothing of the bad gradient is left
  other.step.run(tokens, targets, 1e-2);
  CHECK(run.model.parameters().flat().equal_bits(other.model.parameters().flat()));
}

TEST_CASE("training: an error within a step leaves no tape behind, and the next step is as if it had not been") {
  const OneThread one_thread;
  const ModelConfig config = small("attention");
  Run run(config, DType::f32);
  Run other(config, DType::f32);
  const Tensor tokens = token_tensor(2, 9, kVocabulary, 1);
  const Tensor targets = token_tensor(2, 9, kVocabulary, 2);
  const Tensor wrong = targets.clone();
  wrong.set(3, kVocabulary);
  CHECK_FALSE(error_text<ValueError>([&] { run.step.run(tokens, wrong, 1e-2); }).starts_with("("));
  CHECK_FALSE(error_text<ValueError>([&] { run.step.run(wrong, targets, 1e-2); }).starts_with("("));
  CHECK_FALSE(error_text<ShapeError>([&] { run.step.run(tokens, token_tensor(2, 8, 3, 1), 1e-2); }).starts_with("("));
  CHECK(Tape::current() == nullptr);
  for (int i = 0; i < 2; ++i) {
    run.step.run(tokens, targets, 1e-2);
    other.step.run(tokens, targets, 1e-2);
  }
  CHECK(run.model.parameters().flat().equal_bits(other.model.parameters().flat()));
}

TEST_CASE("training: frozen parameters stay, the others are trained as before") {
  const OneThread one_thread;
  for (const std::string name : {"embed.weight", "pos.weight", "layers.0.mixer.a", "layers.1.mixer.qkv.weight"}) {
    INFO(name);
    Decoder model(small("hsm:scalar,attention"), DType::f64);
    ParameterSet& parameters = model.parameters();
    parameters.initialize(1);
    parameters.find(name)->trainable = false;
    AdamW optimizer(parameters, {});
    TrainStep step(model, optimizer);
    const Tensor tokens = token_tensor(2, 9, kVocabulary, 1);
    const Tensor before = parameters.flat().clone();
    for (int k = 0; k < 3; ++k) {
      step.accumulate(tokens, token_tensor(2, 9, kVocabulary, 2));
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        CHECK(step.gradients().arrived(i) == (parameters[i].name != name));  // not watched at all
      }
      step.apply(1e-2);
    }
    const FlatLayout layout(parameters.shapes());
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      INFO(parameters[i].name);
      CHECK(parameters[i].value.equal_bits(layout.view(before, i)) == (parameters[i].name == name));
    }
  }
}

TEST_CASE("training: resumed from parameters and moments it continues bit for bit") {
  const OneThread one_thread;
  const ModelConfig config = small("hsm:scalar,attention");
  const auto batch = [](std::uint64_t i) {
    return std::pair(token_tensor(2, 9, kVocabulary, i), token_tensor(2, 9, kVocabulary, i + 50));
  };
  Run whole(config, DType::f32);
  for (std::uint64_t i = 0; i < 3; ++i) whole.step.run(batch(i).first, batch(i).second, 1e-2);
  Run resumed(config, DType::f32, {}, 99);
  resumed.model.parameters().flat().copy_from(whole.model.parameters().flat());
  resumed.optimizer.restore(whole.optimizer.first_moment(), whole.optimizer.second_moment(), whole.optimizer.steps());
  for (std::uint64_t i = 3; i < 8; ++i) {
    const StepResult a = whole.step.run(batch(i).first, batch(i).second, 1e-2);
    const StepResult b = resumed.step.run(batch(i).first, batch(i).second, 1e-2);
    CHECK(a.loss == b.loss);
    CHECK(a.gradient_norm == b.gradient_norm);
  }
  CHECK(whole.model.parameters().flat().equal_bits(resumed.model.parameters().flat()));
}

TEST_CASE(
    "training: the first values of a parameter depend on the seed and its index, not on other parameters' sizes") {
  ModelConfig config = small("attention");
  Decoder one(config, DType::f64);
  one.parameters().initialize(4);
  config.d_ff = 24;
  Decoder two(config, DType::f64);
  two.parameters().initialize(4);
  for (const std::string name :
       {"embed.weight", "pos.weight", "layers.0.mixer.qkv.weight", "layers.1.mixer.o.weight"}) {
    CHECK_MESSAGE(one.parameters().find(name)->value.equal_bits(two.parameters().find(name)->value), name);
  }
  CHECK_FALSE(one.parameters()
                  .find("layers.0.mixer.qkv.weight")
                  ->value.equal_bits(one.parameters().find("layers.1.mixer.qkv.weight")->value));
}

}  // namespace
}  // namespace mixgrad::test
