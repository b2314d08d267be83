// nn/analysis/step_walk.h against the tape and the gradients of the same step.
#include "nn/analysis/step_walk.h"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/tape.h"
#include "core/error.h"
#include "nn/config/patterns/mixer_pattern.h"
#include "tests/support/temp_folder.h"

namespace mixgrad::test {
namespace {

ModelConfig walked_config() {
  ModelConfig config;
  config.vocab_size = 11;
  config.context = 8;
  config.d_model = 8;
  config.d_ff = 12;
  config.layers = expand_mixer_pattern("mixed(softmax=1,mamba=1),hsm:scalar(heads=2)", {2, 2, 2, 8, 8});
  return config;
}

const std::vector<std::int32_t> kWalked{1, 5, 2, 7, 10, 3};

}  // namespace

TEST_CASE("step walk: loss, operators, parameters and gradients are those of the tape") {
  Decoder model(walked_config(), DType::f64);
  model.parameters().initialize(4);
  const Tensor before = model.parameters().flat().clone();
  const StepWalk walk = step_walk(model, kWalked);
  const std::span<const std::int32_t> all(kWalked);
  Tape tape;
  model.parameters().watch(tape);
  const Tensor loss = model.loss(Tensor::from_i32(all.first(5), {1, 5}), Tensor::from_i32(all.subspan(1), {1, 5}));
  CHECK(walk.loss == loss.item());
  const std::vector<TapeEntryReport> report = tape.report();
  REQUIRE(walk.entries.size() == report.size());
  for (std::size_t e = 0; e < report.size(); ++e) {
    CHECK(walk.entries[e].spec->name == report[e].op);
    CHECK(walk.entries[e].saved_bytes == report[e].saved_bytes);
    REQUIRE(walk.entries[e].outputs.size() == report[e].outputs.size());
    CHECK(walk.entries[e].outputs[0].shape == report[e].outputs[0]);
  }
  CHECK(walk.entries.back().outputs[0].cells == std::vector<double>{walk.loss});
  Gradients gradients = model.parameters().new_gradients();
  std::move(tape).backward(loss, gradients);
  REQUIRE(walk.parameters.size() == model.parameters().size());
  for (std::size_t i = 0; i < walk.parameters.size(); ++i) {
    const Parameter& parameter = model.parameters()[i];
    CHECK(walk.parameters[i].name == parameter.name);
    double squares = 0;
    const Tensor& of = gradients.of(i);
    for (std::int64_t k = 0; k < of.numel(); ++k) squares += of.at(k) * of.at(k);
    CHECK(walk.parameters[i].gradient.value().size ==
          doctest::Approx(std::sqrt(squares / static_cast<double>(of.numel()))));
    bool used = false;  // somewhere on the tape, with a gradient
    for (const StepEntry& entry : walk.entries) {
      for (std::size_t k = 0; k < entry.parameters.size(); ++k) {
        used = used || (entry.parameters[k] == parameter.name && entry.gradients[k].has_value());
      }
    }
    CHECK_MESSAGE(used, parameter.name);
  }
  for (std::int64_t i = 0; i < before.numel(); ++i) CHECK(model.parameters().flat().at(i) == before.at(i));
}

TEST_CASE("step walk: a picture has the means of neighbours; its numbers are of all") {
  const Tensor tensor = Tensor::zeros({2, 24, 96}, DType::f64);
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    const std::int64_t row = i / 96;
    tensor.set(i, static_cast<double>(i % 96 + 100 * row));
  }
  const TensorPicture picture = picture_of(tensor);
  CHECK(picture.rows == 24);
  CHECK(picture.columns == 48);
  CHECK(picture.low == 0);
  CHECK(picture.high == 4795);
  CHECK(picture.cells[0] == doctest::Approx(50.5));             // rows 0 and 1, columns 0 and 1
  CHECK(picture.cells[48] == doctest::Approx(250.5));           // rows 2 and 3
  CHECK(picture.cells.back() == doctest::Approx(4650 + 94.5));  // the last two of each
  CHECK(picture.mean == doctest::Approx(2350 + 47.5));
}

TEST_CASE("step walk: the check of that step passes, and its errors") {
  Decoder model(walked_config(), DType::f64);
  model.parameters().initialize(4);
  const GradcheckReport report = check_step(model, kWalked);
  CHECK_MESSAGE(report.pass, report.failures());
  CHECK(report.rows.size() > model.parameters().size());
  CHECK(error_of<ValueError>([&] { step_walk(model, {1}); }) ==
        "a training step: 2 to 9 tokens are required, the model's context and the last target; got 1");
  Decoder single(walked_config(), DType::f32);
  CHECK(error_of<ValueError>([&] { check_step(single, kWalked); }) ==
        "the gradient check of a step: a model in f64 on the CPU is required; got f32 on cpu");
}

}  // namespace mixgrad::test
