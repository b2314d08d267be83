// Training with the intermediates of layers computed again: the bits of every loss, norm, parameter and moment are
// those of training that keeps them, and the peak of memory is lower.
#include "autograd/recompute.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/allocator.h"
#include "nn/modules/freeze.h"
#include "nn/training/memory_plan.h"
#include "nn/training/optimizers/adamw.h"
#include "nn/training/train_step.h"
#include "ops/elementwise/elementwise.h"
#include "ops/linear/linear.h"
#include "tests/support/close.h"
#include "tests/support/mixer_laws.h"
#include "tests/support/model_forms.h"

namespace mixgrad::test {
namespace {

struct HowTrained {
  DType dtype = DType::f32;
  std::uint64_t steps = 20;
  std::int64_t parts = 1;
  double dropout = 0;
  std::vector<std::string> frozen = {};
  std::int64_t batch = 3;
};

// What some steps leave behind.
struct TrainedModel {
  Tensor parameters, m, v;
  std::vector<double> losses, norms;
  std::size_t peak = 0;
};

TrainedModel trained(const ModelConfig& config, Intermediates intermediates, const HowTrained& how) {
  Decoder model(config, {how.dtype, test_device()});
  model.parameters().initialize(4);
  freeze(model.parameters(), how.frozen);
  AdamW optimizer(model.parameters(), {});
  TrainStep step(model, optimizer);
  const RecomputeScope scope(intermediates);
  TrainedModel result;
  pool_trim(test_device());
  pool_reset_peak(test_device());
  for (std::uint64_t i = 0; i < how.steps; ++i) {
    double loss = 0;
    for (std::int64_t part = 0; part < how.parts; ++part) {
      const auto seed = 10 * i + static_cast<std::uint64_t>(part);
      const Tensor tokens = token_tensor(how.batch, config.context, kVocabulary, seed);
      const Tensor targets = token_tensor(how.batch, config.context, kVocabulary, seed + 5);
      const DropoutMask mask = DropoutMask::of(how.dropout, 3).in_step(static_cast<std::int64_t>(i), how.parts, part);
      loss += step.accumulate(tokens, targets, static_cast<double>(how.parts), mask);
    }
    result.losses.push_back(loss);
    result.norms.push_back(step.apply(3e-3));
  }
  result.peak = pool_stats(test_device()).peak;
  result.parameters = model.parameters().master().clone();
  result.m = optimizer.first_moment().clone();
  result.v = optimizer.second_moment().clone();
  return result;
}

void check_same_bits(const TrainedModel& kept, const TrainedModel& recomputed) {
  CHECK(kept.losses == recomputed.losses);
  CHECK(kept.norms == recomputed.norms);
  CHECK(kept.parameters.equal_bits(recomputed.parameters));
  CHECK(kept.m.equal_bits(recomputed.m));
  CHECK(kept.v.equal_bits(recomputed.v));
}

ModelConfig config_of(std::size_t i, const std::string& pattern) {
  const Mlp mlps[] = {Mlp::gelu, Mlp::swiglu, Mlp::none};
  const Positions positions[] = {Positions::rope, Positions::learned};
  return decoder_config(pattern, positions[i % 2], i % 3 == 0 ? Norm::rmsnorm : Norm::layernorm, mlps[i % 3],
                        i % 2 == 0, i % 4 < 2);
}

TEST_CASE("recompute: 20 steps of every mixer have the bits of training that keeps everything") {
  const std::vector<std::string> patterns = decoder_patterns();
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    INFO(patterns[i]);
    const ModelConfig config = config_of(i, patterns[i]);
    const HowTrained how{.dropout = i % 2 == 0 ? 0.2 : 0};
    const TrainedModel kept = trained(config, Intermediates::kept, how);
    const TrainedModel recomputed = trained(config, Intermediates::recomputed, how);
    check_same_bits(kept, recomputed);
    CHECK(std::isfinite(kept.losses.back()));
  }
}

TEST_CASE("recompute: the peak of memory is lower for every mixer in a model of some layers") {
  for (const std::string& pattern : decoder_patterns()) {
    INFO(pattern);
    ModelConfig config = decoder_config(pattern, Positions::rope, Norm::layernorm, Mlp::gelu, true, true);
    const auto own = config.layers;
    while (config.layers.size() < 6) config.layers.insert(config.layers.begin(), own.begin(), own.end());
    const HowTrained how{.steps = 1, .batch = 8};
    const std::size_t kept = trained(config, Intermediates::kept, how).peak;
    CHECK(trained(config, Intermediates::recomputed, how).peak < kept);
  }
}

TEST_CASE("recompute: the same bits with accumulation, frozen parameters, and in every dtype") {
  const ModelConfig config = decoder_config("attention(kv_heads=2),hsm:gate_single,mamba(heads=2,d_state=2),attention",
                                            Positions::rope, Norm::layernorm, Mlp::gelu, true, true);
  const std::vector<std::vector<std::string>> frozen{
      {}, {"embed.weight"}, {"embed.weight", "layers.0.*", "layers.1.*"}, {"layers.3.*", "norm.*"}, {"*.mixer.*"}};
  for (const std::vector<std::string>& patterns : frozen) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
      CAPTURE(patterns.size());
      CAPTURE(dtype_name(dtype));
      const HowTrained how{.dtype = dtype, .steps = 4, .parts = 2, .dropout = 0.1, .frozen = patterns};
      check_same_bits(trained(config, Intermediates::kept, how), trained(config, Intermediates::recomputed, how));
    }
  }
}

TEST_CASE("recompute: the plan of a run is what its steps take") {
  for (const std::string pattern : {"attention", "mamba(heads=2,d_state=2)", "hsm:scalar,attention;0,1(hidden=5)"}) {
    INFO(pattern);
    const ModelConfig config = decoder_config(pattern, Positions::rope, Norm::layernorm, Mlp::gelu, true, true);
    const Placement placement{DType::f32, test_device()};
    std::size_t planned[2];
    for (const Intermediates intermediates : {Intermediates::kept, Intermediates::recomputed}) {
      const MemoryPlan plan = plan_training(config, placement, {}, 16, {}, {}, intermediates);
      planned[static_cast<int>(intermediates)] = plan.activations;
      pool_trim(test_device());
      const std::size_t before = pool_stats(test_device()).in_use;
      const TrainedModel run = trained(config, intermediates, {.steps = 3, .batch = 16});
      CHECK(run.peak - before == doctest::Approx(static_cast<double>(plan.peak)).epsilon(0.02));
    }
    CHECK(planned[1] < planned[0]);
  }
}

// Two operators on x and a parameter that both use.
RecomputeOutputs two_operators(const Tensor& x, const Tensor& weight) {
  const Tensor middle = gelu(linear(x, weight));
  return {linear(middle, weight), middle};
}

TEST_CASE("recompute: a block is one entry of the tape, and gives the gradients of its operators") {
  Tensor x = normal_tensor({4, 3}, DType::f32, 1);
  Tensor weight = normal_tensor({3, 3}, DType::f32, 1);
  const auto run = [&](bool again, bool both) {
    Tape tape;
    tape.watch(x);
    tape.watch(weight);
    const Tensor* shared = &weight;
    const auto block = [shared](const RecomputeInputs& in) { return two_operators(in[0], *shared); };
    const RecomputeInputs in{x, {}, {}};
    const RecomputeOutputs out = again ? recomputed(in, block) : block(in);
    CHECK(tape.entries() == (again ? 1 : 3));
    if (again) CHECK(tape.report()[0].op == "recomputed");
    if (again) CHECK(tape.report()[0].saved_bytes == x.bytes());
    const Tensor sum = both ? add(out[0], out[1]) : out[1];
    const std::vector<Shape> shapes = tape.leaf_shapes();
    Gradients gradients(shapes, DType::f32);
    const Tape::Seed seed{sum, Tensor::full(sum.shape(), DType::f32, 0.7)};
    std::move(tape).backward(std::span(&seed, 1), gradients);
    return gradients.flat().clone();
  };
  CHECK(run(false, true).equal_bits(run(true, true)));
  CHECK(run(false, false).equal_bits(run(true, false)));  // nothing used the first output
}

TEST_CASE("recompute: without a tape nothing is recomputed, and scopes nest") {
  CHECK(!recomputing());
  const RecomputeScope outer(Intermediates::recomputed);
  CHECK(!recomputing());  // no tape
  const Tape tape;
  CHECK(recomputing());
  {
    const RecomputeScope inner(Intermediates::kept);
    CHECK(!recomputing());
  }
  CHECK(recomputing());
}

}  // namespace
}  // namespace mixgrad::test
