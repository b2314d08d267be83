// Training on a teacher: the objectives' values and gradients against loops by hand, what is frozen, and what is
// refused.
#include "nn/analysis/conversion/distillation.h"

#include <doctest/doctest.h>

#include <cmath>

#include "core/error.h"
#include "nn/analysis/conversion/conversion.h"
#include "nn/tokenizers/tokenizer_types.h"
#include "nn/training/optimizers/registry.h"
#include "nn/training/train_step.h"
#include "ops/cases/cases.h"
#include "tests/support/mixer_laws.h"
#include "tests/support/text.h"

namespace mixgrad::test {
namespace {

ModelConfig distilled_config(const std::vector<LayerConfig>& layers) {
  ModelConfig config = decoder_config("attention", Positions::rope, Norm::rmsnorm, Mlp::swiglu, true, false);
  config.layers = layers;
  return config;
}

// A model, and the same one with these groups replaced.
struct Pair {
  std::shared_ptr<Decoder> teacher;
  std::unique_ptr<Decoder> student;

  Pair(const ModelConfig& config, const std::vector<GroupId>& groups, HeadTarget target) {
    const Placement placement{DType::f64, kCpu};
    teacher = std::make_shared<Decoder>(config, placement);
    teacher->parameters().initialize(3);
    student = std::make_unique<Decoder>(converted_config(config, groups, {.to = target}), placement);
    student->parameters().initialize(5);
    copy_kept_parameters(*teacher, *student);
  }
};

double value_of(const Objective& objective, Decoder& model, const Tensor& tokens, const Tensor& targets) {
  Gradients gradients = model.parameters().new_gradients();
  return objective.accumulate(model, tokens, targets, 1, {}, gradients);
}

// The gradient along a random direction against the central difference.
void check_gradient(const Objective& objective, Decoder& model, const Tensor& tokens, const Tensor& targets) {
  Gradients gradients = model.parameters().new_gradients();
  objective.accumulate(model, tokens, targets, 1, {}, gradients);
  double slope = 0;
  std::vector<Tensor> directions;
  for (std::size_t i = 0; i < model.parameters().size(); ++i) {
    const Parameter& parameter = model.parameters()[i];
    directions.push_back(random_tensor(parameter.shape, 100 + i));
    if (!parameter.trainable) {
      CHECK_FALSE(gradients.arrived(i));
      continue;
    }
    REQUIRE_MESSAGE(gradients.arrived(i), parameter.name);
    for (std::int64_t j = 0; j < parameter.shape.numel(); ++j) slope += gradients.of(i).at(j) * directions[i].at(j);
  }
  const auto moved = [&](double by) {
    for (std::size_t i = 0; i < model.parameters().size(); ++i) {
      const Parameter& parameter = model.parameters()[i];
      if (!parameter.trainable) continue;
      for (std::int64_t j = 0; j < parameter.shape.numel(); ++j) {
        parameter.master.set(j, parameter.master.at(j) + by * directions[i].at(j));
      }
    }
    return value_of(objective, model, tokens, targets);
  };
  constexpr double kStep = 1e-5;
  const double above = moved(kStep);
  const double below = moved(-2 * kStep);
  moved(kStep);
  CHECK(slope == doctest::Approx((above - below) / (2 * kStep)).epsilon(1e-6));
}

TEST_CASE("distillation: logits are the mixed loss of the operator, and every trained parameter has its gradient") {
  const ModelConfig config = distilled_config({AttentionConfig{4, 2}, AttentionConfig{4, 4}});
  Pair pair(config, {{0, 1}, {1, 2}}, HeadTarget::recurformer);
  const Tensor tokens = random_tokens({2, 6}, static_cast<std::int32_t>(config.vocab_size), 1);
  const Tensor targets = random_tokens({2, 6}, static_cast<std::int32_t>(config.vocab_size), 2);
  targets.set(3, -1);
  const Distillation how{.temperature = 3, .mix = 0.25};
  const auto objective = make_distillation(pair.teacher, *pair.student, {.stage = DistillStage::logits, .loss = how});
  CHECK(objective->name() == "distill-logits");
  const double wanted =
      distillation_loss(pair.student->logits(tokens), pair.teacher->logits(tokens), targets, how).item();
  CHECK(value_of(*objective, *pair.student, tokens, targets) == doctest::Approx(wanted).epsilon(1e-12));
  check_gradient(*objective, *pair.student, tokens, targets);
  // A model is its own teacher: what is left is the plain loss.
  const auto own = make_distillation(pair.teacher, *pair.teacher, {.stage = DistillStage::logits, .loss = how});
  CHECK(value_of(*own, *pair.teacher, tokens, targets) ==
        doctest::Approx(0.75 * pair.teacher->loss(tokens, targets).item()).epsilon(1e-12));
}

TEST_CASE("distillation: heads are matched one by one on the teacher's own inputs, everything else is frozen") {
  const ModelConfig config = distilled_config({AttentionConfig{4, 2}, AttentionConfig{4, 4}});
  for (const HeadTarget target : {HeadTarget::recurformer, HeadTarget::shift}) {
    Pair pair(config, {{0, 1}, {1, 0}, {1, 2}}, target);
    freeze_kept_parameters(config, *pair.student);
    for (std::size_t i = 0; i < pair.student->parameters().size(); ++i) {
      const Parameter& parameter = pair.student->parameters()[i];
      CHECK(parameter.trainable == (parameter.name.find(".mamba.") != std::string::npos ||
                                    parameter.name.find(".shift.") != std::string::npos));
    }
    const Tensor tokens = random_tokens({2, 7}, static_cast<std::int32_t>(config.vocab_size), 1);
    const auto objective = make_distillation(pair.teacher, *pair.student, {.stage = DistillStage::heads});
    // Four heads: 2 and 3 of layer 0 are the first two of its new ones, 0 and 2 of layer 1 too.
    const std::int64_t dh = config.d_model / 4;
    double sum = 0;
    pair.teacher->visit(tokens, [&](std::size_t layer, const Mixer& mixer, const LayerInput& input) {
      const Tensor wanted = mixer.softmax_outputs(input);
      const Mixer& student = pair.student->mixer(layer);
      const LayerInput u(input.u());
      const Tensor got = target == HeadTarget::shift ? student.shift_outputs(u) : student.mamba_outputs(u);
      const std::vector<std::int64_t> heads =
          layer == 0 ? std::vector<std::int64_t>{2, 3} : std::vector<std::int64_t>{0, 2};
      for (std::size_t n = 0; n < heads.size(); ++n) {
        double error = 0;
        double size = 0;
        for (std::int64_t row = 0; row < 14; ++row) {
          for (std::int64_t c = 0; c < dh; ++c) {
            const double a = wanted.at(row * wanted.cols() + heads[n] * dh + c);
            error += std::pow(got.at(row * got.cols() + static_cast<std::int64_t>(n) * dh + c) - a, 2);
            size += a * a;
          }
        }
        sum += error / size;
      }
    });
    CHECK(value_of(*objective, *pair.student, tokens, tokens) == doctest::Approx(sum / 4).epsilon(1e-10));
    check_gradient(*objective, *pair.student, tokens, tokens);
  }
}

TEST_CASE("distillation: layers of different numbers of heads, and a head that gives nothing is matched as it is") {
  const ModelConfig config = distilled_config({AttentionConfig{4, 2}, AttentionConfig{2, 2}});
  for (const bool is_silent : {false, true}) {
    Pair pair(config, {{0, 1}, {1, 0}}, HeadTarget::recurformer);
    if (is_silent) pair.teacher->parameters().at("layers.1.mixer.qkv.weight").value.zero();
    freeze_kept_parameters(config, *pair.student);
    const Tensor tokens = random_tokens({2, 7}, static_cast<std::int32_t>(config.vocab_size), 1);
    const auto objective = make_distillation(pair.teacher, *pair.student, {.stage = DistillStage::heads});
    double sum = 0;
    pair.teacher->visit(tokens, [&](std::size_t layer, const Mixer& mixer, const LayerInput& input) {
      const Tensor wanted = mixer.softmax_outputs(input);
      const Tensor got = pair.student->mixer(layer).mamba_outputs(LayerInput(input.u()));
      const std::int64_t dh = config.d_model / (layer == 0 ? 4 : 2);
      const std::vector<std::int64_t> heads =
          layer == 0 ? std::vector<std::int64_t>{2, 3} : std::vector<std::int64_t>{0};
      for (std::size_t n = 0; n < heads.size(); ++n) {
        double error = 0;
        double size = 0;
        for (std::int64_t i = 0; i < 14 * dh; ++i) {
          const std::int64_t row = i / dh;
          const double a = wanted.at(row * config.d_model + heads[n] * dh + i % dh);
          const std::int64_t width = got.numel() / 14;
          error += std::pow(got.at(row * width + static_cast<std::int64_t>(n) * dh + i % dh) - a, 2);
          size += a * a;
        }
        CHECK((size == 0) == (is_silent && layer == 1));
        sum += size > 0 ? error / size : error / static_cast<double>(14 * dh);
      }
    });
    CHECK(value_of(*objective, *pair.student, tokens, tokens) == doctest::Approx(sum / 3).epsilon(1e-10));
    check_gradient(*objective, *pair.student, tokens, tokens);
  }
}

TEST_CASE("distillation: steps bring the new heads nearer and leave the rest as it is, bit for bit") {
  const ModelConfig config = distilled_config({AttentionConfig{4, 2}});
  Pair pair(config, {{0, 0}}, HeadTarget::recurformer);
  freeze_kept_parameters(config, *pair.student);
  const Tensor before = pair.student->parameters().at("layers.0.mixer.o.weight").value.clone();
  const auto objective = make_distillation(pair.teacher, *pair.student, {.stage = DistillStage::heads});
  const auto optimizer = make_optimizer({.name = "adamw"}, pair.student->parameters());
  TrainStep step(*pair.student, *optimizer, objective.get());
  const Tensor tokens = random_tokens({4, 8}, static_cast<std::int32_t>(config.vocab_size), 1);
  const double first = step.run(tokens, tokens, 1e-2).loss;
  double last = first;
  for (int i = 0; i < 100; ++i) last = step.run(tokens, tokens, 1e-2).loss;
  CHECK(last < 0.7 * first);
  const Tensor after = pair.student->parameters().at("layers.0.mixer.o.weight").value;
  for (std::int64_t i = 0; i < before.numel(); ++i) CHECK(before.at(i) == after.at(i));
}

TEST_CASE("distillation: a teacher that does not fit is refused") {
  const ModelConfig config = distilled_config({AttentionConfig{4, 2}});
  Pair pair(config, {{0, 0}}, HeadTarget::recurformer);
  const TokenizerPtr tokenizer = make_tokenizer("char", {.text = "abc", .source = "a text"});
  const auto refused = [&](const ModelConfig& other, const TokenizerPtr& its, const Decoder& student,
                           DistillStage stage) {
    Teacher teacher;
    teacher.model = std::make_shared<Decoder>(other, Placement{DType::f64, kCpu});
    teacher.tokenizer = its;
    teacher.folder = "/runs/base";
    return error_text<ValueError>([&] { check_teacher(teacher, student, *tokenizer, stage); });
  };
  ModelConfig larger = config;
  larger.vocab_size += 1;
  CHECK(has(refused(larger, tokenizer, *pair.student, DistillStage::logits), "must have the vocabulary of the model"));
  ModelConfig shorter = config;
  shorter.context -= 1;
  CHECK(has(refused(shorter, tokenizer, *pair.student, DistillStage::logits), "must have a context of at least"));
  CHECK(has(
      refused(config, make_tokenizer("char", {.text = "abd", .source = "a text"}), *pair.student, DistillStage::logits),
      "must have the tokenizer of the model"));
  CHECK(has(refused(config, tokenizer, *pair.teacher, DistillStage::heads),
            "some of whose heads are Mamba or shift heads"));
  const std::string counts =
      refused(distilled_config({AttentionConfig{2, 2}}), tokenizer, *pair.student, DistillStage::heads);
  CHECK_MESSAGE(has(counts, "4 and 2 in layer 0; that of /runs/base has 2 and 2; take the stage logits"), counts);
  const ModelConfig mixed = converted_config(config, {{0, 1}}, {});
  const Decoder both(converted_config(mixed, {{0, 0}}, {}), {DType::f64, kCpu});
  CHECK(has(refused(mixed, tokenizer, both, DistillStage::heads), "needs layers whose Mamba heads are all new"));
}

}  // namespace
}  // namespace mixgrad::test
