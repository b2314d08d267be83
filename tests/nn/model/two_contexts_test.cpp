// Two models with different settings in one process: each computes, decodes and trains to the bits that it has alone,
// in turn and from two threads at once.
#include <doctest/doctest.h>

#include <thread>
#include <utility>

#include "core/parallel.h"
#include "nn/training/optimizers/adamw.h"
#include "nn/training/train_step.h"
#include "ops/matmul/matmul.h"
#include "tests/support/close.h"
#include "tests/support/model_forms.h"

namespace mixgrad::test {
namespace {

constexpr Context kExact{.matmul_precision = MatmulPrecision::highest, .threads = 1};
constexpr Context kRounded{.matmul_precision = MatmulPrecision::medium, .threads = 2};

// A model and what it says: logits, a decoded piece, a loss and the parameters after two steps.
struct Run {
  explicit Run(const Context& context)
      : model(decoder_config("attention", Positions::rope, Norm::rmsnorm, Mlp::swiglu, true, true),
              Placement(DType::f32, test_device(), context)),
        optimizer(model.parameters(), {}),
        step(model, optimizer) {
    model.parameters().initialize(7);
  }

  void compute() {
    const Tensor tokens = token_tensor(2, 19, kVocabulary, 1);
    logits = model.logits(tokens).to(kCpu);
    DecoderState state = model.new_state(2, kContext);
    decoded = model.prefill(tokens, state).to(kCpu);
    losses.push_back(step.run(tokens, token_tensor(2, 19, kVocabulary, 2), 1e-3).loss);
  }

  bool equals(const Run& other) const {
    return logits.equal_bits(other.logits) && decoded.equal_bits(other.decoded) && losses == other.losses &&
           model.parameters().flat().to(kCpu).equal_bits(other.model.parameters().flat().to(kCpu));
  }

  Decoder model;
  AdamW optimizer;
  TrainStep step;
  Tensor logits, decoded;
  std::vector<double> losses;
};

}  // namespace

TEST_CASE("two contexts: models of different precision, in turn and at once, keep the bits that each has alone") {
  Run exact_alone(kExact);
  Run rounded_alone(kRounded);
  for (int i = 0; i < 2; ++i) exact_alone.compute();
  for (int i = 0; i < 2; ++i) rounded_alone.compute();
  // Where medium rounds, the two must differ, or this test would show nothing.
  if (cpu::has_amx() || test_device().is_cuda()) CHECK_FALSE(exact_alone.logits.equal_bits(rounded_alone.logits));

  Run exact(kExact);
  Run rounded(kRounded);
  for (int i = 0; i < 2; ++i) {
    exact.compute();
    rounded.compute();
  }
  CHECK(exact.equals(exact_alone));
  CHECK(rounded.equals(rounded_alone));

  Run exact_there(kExact);
  Run rounded_here(kRounded);
  std::thread beside([&] {
    for (int i = 0; i < 2; ++i) exact_there.compute();
  });
  for (int i = 0; i < 2; ++i) rounded_here.compute();
  beside.join();
  CHECK(exact_there.equals(exact_alone));
  CHECK(rounded_here.equals(rounded_alone));
}

}  // namespace mixgrad::test
