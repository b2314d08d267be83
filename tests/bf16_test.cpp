// Models in bf16: their parameters are the f32 masters rounded, a checkpoint holds the masters, and the reference is
// met as far as 8 bits go.
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <string>

#include "nn/checkpoint.h"
#include "nn/conformance.h"
#include "nn/file.h"
#include "nn/training.h"
#include "tests/model_forms.h"
#include "tests/temp_folder.h"

namespace mixgrad::test {
namespace {

ModelConfig small(const std::string& pattern) {
  return decoder_config(pattern, Positions::rope, Norm::rmsnorm, Mlp::swiglu, true, false);
}

bool rounds(const ParameterSet& parameters) {
  return parameters.flat().equal_bits(parameters.master().to(DType::bf16));
}

TEST_CASE("bf16: values are the masters rounded, from the start and after every step; what rounds away is kept") {
  Decoder model(small("attention,hsm:scalar"), {DType::bf16, test_device()});
  ParameterSet& parameters = model.parameters();
  CHECK(parameters.master().dtype() == DType::f32);
  CHECK_FALSE(parameters.flat().shares_memory_with(parameters.master()));
  parameters.initialize(1);
  CHECK(rounds(parameters));
  AdamW optimizer(parameters, {});
  CHECK(optimizer.first_moment().dtype() == DType::f32);
  TrainStep step(model, optimizer);
  const Tensor tokens = token_tensor(3, 12, kVocabulary, 1);
  const Tensor targets = token_tensor(3, 12, kVocabulary, 2);
  const Tensor before = parameters.master().clone();
  // Steps of 1e-6 are below the rounding of nearly every value: only the masters can take them up.
  for (int i = 0; i < 3; ++i) {
    const StepResult result = step.run(tokens, targets, 1e-6);
    CHECK(std::isfinite(result.loss));
    CHECK(rounds(parameters));
  }
  double moved = 0;
  for (std::int64_t i = 0; i < before.numel(); ++i) moved += parameters.master().at(i) != before.at(i) ? 1 : 0;
  CHECK(moved > 0.5 * static_cast<double>(parameters.count()));
}

TEST_CASE("bf16: f64 and f32 parameters are their own masters") {
  for (const DType dtype : {DType::f64, DType::f32}) {
    Decoder model(small("attention"), {dtype, test_device()});
    CHECK(model.parameters().flat().shares_memory_with(model.parameters().master()));
  }
}

TEST_CASE("bf16: a checkpoint holds the masters in f32, and a model read from it has them and their values") {
  const TempFolder folder;
  Decoder model(small("mixed(softmax=1,mamba=1,shift=2,d_state=2),attention"), {DType::bf16, test_device()});
  model.parameters().initialize(5);
  const AdamW optimizer(model.parameters(), {});
  make_folder(folder / "run");
  save_checkpoint(folder / "run", model, Tokenizer::chars_of("abcdefghij\n", "test"), optimizer, TrainerState());
  for (const DType dtype : {DType::bf16, DType::f32}) {
    const Checkpoint read = load_checkpoint(folder / "run", {dtype, test_device()});
    CHECK(read.model->parameters().master().equal_bits(model.parameters().master()));
    CHECK(read.model->dtype() == dtype);
    CHECK(read.model->parameters().flat().equal_bits(dtype == DType::bf16 ? model.parameters().flat()
                                                                          : model.parameters().master()));
  }
}

// Two of the 23 cases exceed 0.1 in the gradient: rounding their parameters alone makes 0.06 and 0.08 of it.
TEST_CASE("bf16: conformance, logits within 3e-2 and gradients within 0.1; two cases within 3.6e-2 and 0.13") {
  int all = 0;
  int passed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(MIXGRAD_SOURCE_DIR "/tests/conformance")) {
    if (entry.path().extension() != ".safetensors") continue;
    INFO(entry.path().stem().string());
    const ConformanceResult r = run_conformance(entry.path(), DType::bf16, test_device());
    ++all;
    passed += r.pass ? 1 : 0;
    REQUIRE((r.logits && r.decode && r.loss && r.grad && r.step_losses));
    CHECK_FALSE(r.after.has_value());
    CHECK(*r.grad > 1e-3);  // it is bf16
    CHECK(*r.grad < 0.13);
    CHECK(*r.logits < 3.6e-2);
    CHECK(*r.decode < 3.6e-2);
    CHECK(*r.loss < 3e-2);
  }
  CHECK(all == 23);
  CHECK(passed >= 21);
}

}  // namespace
}  // namespace mixgrad::test
