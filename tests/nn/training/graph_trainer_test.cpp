// Training with the whole step in a CUDA graph: the same bits as its kernels one by one, and as batches of the host;
// nothing is copied, allocated or computed on the host; a number that is not finite halts it and harms nothing.
#include "nn/training/graph_trainer.h"
#include "core/build.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "core/allocator.h"
#include "core/cuda/cuda.h"
#include "core/dispatch/dispatch.h"
#include "core/error.h"
#include "nn/data/token_data.h"
#include "nn/tokenizers/char_tokenizer.h"
#include "nn/training/optimizers/adamw.h"
#include "nn/training/train_step.h"
#include "tests/support/model_forms.h"

namespace mixgrad::test {
namespace {

#if defined(MIXGRAD_CUDA)

const std::string kLetters = "abcdefghij\n";  // as many as kVocabulary

bool on_cuda() {
  if (test_device().is_cuda()) return true;
  std::fputs("ABSENT: graphs of training steps need MIXGRAD_DEVICE=cuda\n", stderr);
  return false;
}

// More predictable than chance, so that there is something to learn.
std::string letters(std::int64_t count) {
  std::string text = kLetters;
  Rng rng(5);
  std::uint64_t at = 0;  // three times of four the next letter, else any
  for (std::int64_t i = 0; i < count; ++i) {
    at = (rng.below(4) > 0 ? at + 1 : rng.below(kLetters.size())) % kLetters.size();
    text += kLetters[static_cast<std::size_t>(at)];
  }
  return text;
}

TokenData letter_data(std::int64_t count) {
  const std::string text = letters(count);
  return TokenData::from_text(text, char_tokenizer(text, "test"), "test");
}

constexpr Schedule kSchedule{.kind = ScheduleKind::cosine, .lr = 1e-2, .min_lr = 1e-3, .warmup = 3, .steps = 2000};

struct Run {
  TokenData data = letter_data(3000);
  Decoder model;
  AdamW optimizer;
  Rng rng{9, 77};

  Run(const std::string& pattern, DType dtype)
      : model(decoder_config(pattern, Positions::rope, Norm::layernorm, Mlp::gelu, true, true), {dtype, test_device()}),
        optimizer(model.parameters(), {}) {
    model.parameters().initialize(1);
  }

  std::unique_ptr<GraphTrainer> trainer(bool capture, std::int64_t accumulate = 1, bool resident = true,
                                        double dropout = 0) {
    auto made =
        cuda::make_graph_trainer(model, optimizer, data,
                                 {.batch = 3,
                                  .accumulate = accumulate,
                                  .schedule = kSchedule,
                                  .dropout = DropoutMask::of(dropout, 44),
                                  .text = resident ? Trainer::TextMemory::device : Trainer::TextMemory::host,
                                  .launch = capture ? Trainer::Launch::captured : Trainer::Launch::kernel_by_kernel});
    made->start(0, rng);
    return made;
  }

  bool same_as(const Run& other) const {
    return model.parameters().flat().equal_bits(other.model.parameters().flat()) &&
           model.parameters().master().equal_bits(other.model.parameters().master()) &&
           optimizer.first_moment().equal_bits(other.optimizer.first_moment()) &&
           optimizer.second_moment().equal_bits(other.optimizer.second_moment()) &&
           optimizer.steps() == other.optimizer.steps();
  }
};

Trainer::Result train(Run& run, bool capture, int steps, std::int64_t accumulate = 1, bool resident = true,
                      double dropout = 0) {
  const auto trainer = run.trainer(capture, accumulate, resident, dropout);
  for (int i = 0; i < steps; ++i) trainer->queue();
  const Trainer::Result result = trainer->wait();
  CHECK((trainer->graph_nodes() > 0) == capture);
  return result;
}

TEST_CASE("graph trainer: a replayed graph gives the bits of its kernels called one by one") {
  if (!on_cuda()) return;
  for (const std::string& pattern : decoder_patterns()) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      for (const std::int64_t accumulate : {1, 2}) {
        INFO(pattern << " " << std::string(dtype_name(dtype)) << " accumulate " << accumulate);
        Run graph(pattern, dtype);
        Run eager(pattern, dtype);
        const Trainer::Result a = train(graph, true, 12, accumulate);
        const Trainer::Result b = train(eager, false, 12, accumulate);
        CHECK(a.loss == b.loss);
        CHECK(a.gradient_norm == b.gradient_norm);
        CHECK(a.rng_counter == b.rng_counter);
        CHECK(a.step == 12);
        CHECK_FALSE(a.halted);
        CHECK(graph.same_as(eager));
      }
    }
  }
}

TEST_CASE("graph trainer: dropout draws the mask of each step from the step number in the device's memory") {
  if (!on_cuda()) return;
  for (const std::string& pattern : decoder_patterns()) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      INFO(pattern << " " << std::string(dtype_name(dtype)));
      Run graph(pattern, dtype);
      Run eager(pattern, dtype);
      const Trainer::Result a = train(graph, true, 9, 2, true, 0.3);
      const Trainer::Result b = train(eager, false, 9, 2, true, 0.3);
      CHECK(a.loss == b.loss);
      CHECK(graph.same_as(eager));
      // The masks of the host's step numbers are the same.
      Run host(pattern, dtype);
      TrainStep step(host.model, host.optimizer);
      const Tensor tokens = Tensor::empty({3, kContext}, DType::i32);
      const Tensor targets = Tensor::empty({3, kContext}, DType::i32);
      for (std::int64_t t = 0; t < 9; ++t) {
        for (std::int64_t part = 0; part < 2; ++part) {
          host.data.sample_batch(host.rng, tokens, targets);
          step.accumulate(tokens, targets, 2, DropoutMask::of(0.3, 44).in_step(t, 2, part));
        }
        step.apply(kSchedule.at(t));
      }
      CHECK(graph.same_as(host));
      Run without(pattern, dtype);
      train(without, true, 9, 2);
      CHECK_FALSE(graph.same_as(without));
    }
  }
}

TEST_CASE("graph trainer: batches drawn on the device are those that the host draws") {
  if (!on_cuda()) return;
  Run graph("attention,hsm:scalar", DType::f32);
  Run host("attention,hsm:scalar", DType::f32);
  const Trainer::Result result = train(graph, true, 9, 2);
  TrainStep step(host.model, host.optimizer);
  const Tensor tokens = Tensor::empty({3, kContext}, DType::i32);
  const Tensor targets = Tensor::empty({3, kContext}, DType::i32);
  double loss = 0;
  double norm = 0;
  for (std::int64_t t = 0; t < 9; ++t) {
    loss = 0;
    for (int part = 0; part < 2; ++part) {
      host.data.sample_batch(host.rng, tokens, targets);
      loss += step.accumulate(tokens, targets, 2) / 2;
    }
    norm = step.apply(kSchedule.at(t));
  }
  CHECK(result.loss == loss);
  CHECK(result.gradient_norm == norm);
  CHECK(result.rng_counter == host.rng.counter());
  CHECK(result.learning_rate == kSchedule.at(8));
  CHECK(graph.same_as(host));
}

TEST_CASE("graph trainer: a text that stays with the host gives the same bits as one on the device") {
  if (!on_cuda()) return;
  for (const bool capture : {false, true}) {
    for (const std::int64_t accumulate : {1, 2}) {
      Run resident("attention,hsm:scalar", DType::f32);
      Run streamed("attention,hsm:scalar", DType::f32);
      const Trainer::Result a = train(resident, capture, 50, accumulate);
      const Trainer::Result b = train(streamed, capture, 50, accumulate, false);
      CHECK(a.loss == b.loss);
      CHECK(a.rng_counter == b.rng_counter);
      CHECK(b.step == 50);
      CHECK(resident.same_as(streamed));
    }
  }
}

TEST_CASE("graph trainer: a replayed step copies nothing to the host, runs no CPU kernel and takes no memory") {
  if (!on_cuda()) return;
  for (const std::string& pattern : decoder_patterns()) {
    INFO(pattern);
    Run run(pattern, DType::bf16);
    const auto trainer = run.trainer(true);
    trainer->queue();
    trainer->queue();
    trainer->wait();
    const std::int64_t copies = cuda::copies_to_host();
    const std::int64_t kernels = cpu_kernel_calls;
    const std::int64_t allocations = pool_stats(test_device()).system_allocations;
    for (int i = 0; i < 20; ++i) trainer->queue();
    CHECK(cuda::copies_to_host() == copies);
    CHECK(cpu_kernel_calls == kernels);
    CHECK(pool_stats(test_device()).system_allocations == allocations);
    CHECK(trainer->wait().step == 22);
  }
}

TEST_CASE("graph trainer: 1000 steps twice give the same bits") {
  if (!on_cuda()) return;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Run first("attention,hsm:gate_double", dtype);
    Run second("attention,hsm:gate_double", dtype);
    const Trainer::Result a = train(first, true, 1000);
    const Trainer::Result b = train(second, true, 1000);
    CHECK(a.loss == b.loss);
    CHECK(first.same_as(second));
    CHECK(a.step == 1000);
    CHECK(a.loss < 0.8 * std::log(kVocabulary));
  }
}

void check_halt(bool resident) {
  Run run("attention", DType::f32);
  const auto trainer = run.trainer(true, 1, resident);
  for (int i = 0; i < 5; ++i) trainer->queue();
  const Trainer::Result before = trainer->wait();
  Parameter& poisoned = *run.model.parameters().find("layers.0.mlp.up.weight");
  const double held = poisoned.value.at(3);
  poisoned.value.set(3, std::numeric_limits<double>::quiet_NaN());
  const Tensor weights = run.model.parameters().flat().clone();
  const Tensor moments = run.optimizer.first_moment().clone();
  for (int i = 0; i < 3; ++i) trainer->queue();
  const Trainer::Result halted = trainer->wait();
  CHECK(halted.halted);
  CHECK(std::isnan(halted.loss));
  CHECK(halted.step == before.step);
  CHECK(halted.rng_counter == before.rng_counter);
  CHECK(run.optimizer.steps() == 5);
  CHECK(run.model.parameters().flat().equal_bits(weights));
  CHECK(run.optimizer.first_moment().equal_bits(moments));
  poisoned.value.set(3, held);
  trainer->start(halted.step, Rng(run.rng.seed(), halted.rng_counter));
  trainer->queue();
  const Trainer::Result after = trainer->wait();
  CHECK_FALSE(after.halted);
  CHECK(after.step == 6);
  Run straight("attention", DType::f32);
  train(straight, true, 6);
  CHECK(run.same_as(straight));
}

TEST_CASE("graph trainer: what is not finite halts it; nothing is written until it is started again") {
  if (!on_cuda()) return;
  check_halt(true);
  check_halt(false);
}

TEST_CASE("graph: what cannot be captured is refused, and the thread can go on") {
  if (!on_cuda()) return;
  const Tensor x = Tensor::full({4}, DType::f32, 2.0, test_device());
  cuda::Graph graph;
  CHECK_THROWS_WITH_AS(graph.launch(), "graph: it must be captured before it is launched", DeviceError);
  {
    const cuda::Graph::Capture capture(graph, test_device());
    CHECK(cuda::capturing());
    CHECK_THROWS_WITH_AS(x.to(kCpu), doctest::Contains("no copy to the host can be part of a captured graph"),
                         DeviceError);
    CHECK_THROWS_AS(x.at(0), DeviceError);
    CHECK_THROWS_WITH_AS(cuda::Graph::Capture(graph, test_device()), "graph: this thread captures one already",
                         DeviceError);
  }
  CHECK_FALSE(cuda::capturing());
  CHECK_FALSE(graph.ready());
  CHECK(x.at(3) == 2.0);
  cuda::Graph::Capture capture(graph, test_device());
  x.fill(5.0);
  capture.finish();
  CHECK(x.at(0) == 2.0);
  graph.launch();
  CHECK(x.at(0) == 5.0);
}

#else

TEST_CASE("graph trainer: belongs to builds with CUDA") {
  std::fputs("ABSENT: graphs of training steps need a build with CUDA\n", stderr);
  CHECK_FALSE(build::has_cuda);
}

#endif

}  // namespace
}  // namespace mixgrad::test
