// Scores on tasks against a count by hand, and training on a task: targets of -1 do not count, and the trainer of a
// captured step takes the sequences that the host's trainer takes.
#include "nn/evaluation/task_evaluation.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/build.h"
#include "core/error.h"
#include "nn/data/target_shares.h"
#include "nn/data/task_batches.h"
#include "nn/modules/finite_values.h"
#include "nn/training/graph_trainer.h"
#include "nn/training/host_trainer.h"
#include "nn/training/optimizers/adamw.h"
#include "nn/training/train_step.h"
#include "tests/support/device.h"
#include "tests/support/model_forms.h"

namespace mixgrad::test {
namespace {

ModelConfig task_config(const Task& task, Positions positions = Positions::rope, std::int64_t context = 0) {
  ModelConfig config = decoder_config("hsm:scalar,attention", positions, Norm::layernorm, Mlp::gelu, true, true);
  config.vocab_size = task.vocabulary();
  config.context = context == 0 ? task.length() : context;
  return config;
}

TEST_CASE("task evaluation: Wilson's interval is that of the tables") {
  // Newcombe (1998), table of example proportions: 81/263, 15/148, 0/20, 1/29.
  const auto interval = [](std::int64_t right, std::int64_t count) {
    return Proportion{.right = right, .count = count}.interval();
  };
  CHECK(std::abs(interval(81, 263).low - 0.2553) < 5e-5);
  CHECK(std::abs(interval(81, 263).high - 0.3662) < 5e-5);
  CHECK(std::abs(interval(15, 148).low - 0.0624) < 5e-5);
  CHECK(std::abs(interval(15, 148).high - 0.1605) < 5e-5);
  CHECK(interval(0, 20).low == 0);
  CHECK(std::abs(interval(0, 20).high - 0.1611) < 5e-5);
  CHECK(std::abs(interval(1, 29).low - 0.0061) < 5e-5);
  CHECK(std::abs(interval(1, 29).high - 0.1718) < 5e-5);
  CHECK(interval(20, 20).high == 1);
  CHECK(interval(0, 0).low == 0);
  CHECK(interval(0, 0).high == 1);
}

// Counts with the logits of whole sequences, one sequence at a time.
TaskScore score_by_hand(const Decoder& model, const Task& task, std::uint64_t seed, std::int64_t sequences) {
  TaskScore score;
  double loss = 0;
  for (std::int64_t i = 0; i < sequences; ++i) {
    TaskSequence s;
    task.sequence(seed, kFirstTaskEvaluation + static_cast<std::uint64_t>(i), s);
    const Tensor tokens = Tensor::empty({1, task.length()}, DType::i32);
    for (std::int64_t t = 0; t < task.length(); ++t) tokens.set(t, s.tokens[static_cast<std::size_t>(t)]);
    const Tensor logits = model.logits(tokens).to(kCpu);
    bool all = true;
    for (const TaskAnswer& answer : s.answers) {
      bool right = true;
      for (std::int64_t t = answer.position; t < answer.position + answer.tokens; ++t) {
        const std::int64_t target = s.targets[static_cast<std::size_t>(t)];
        std::int64_t best = 0;
        double sum = 0;
        for (std::int64_t v = 0; v < task.vocabulary(); ++v) {
          const double logit = logits.at(t * task.vocabulary() + v);
          sum += std::exp(logit);
          if (logit > logits.at(t * task.vocabulary() + best)) best = v;
        }
        loss += std::log(sum) - logits.at(t * task.vocabulary() + target);
        score.tokens.add(best == target);
        right = right && best == target;
      }
      score.answers.add(right);
      all = all && right;
    }
    score.sequences.add(all);
  }
  score.loss = loss / static_cast<double>(score.tokens.count);
  return score;
}

TEST_CASE("task evaluation: a score is what counting by hand gives, whatever the batch") {
  for (const char* text : {"mqar(pairs=3,vocab=8,length=16)", "copy(count=4,vocab=3)",
                           "hashhop(hops=2,chains=1,letters=1,cot=true)", "parity(length=6,running=true)"}) {
    INFO(text);
    const TaskPtr task = parse_task(text);
    Decoder model(task_config(*task), {DType::f64, test_device()});
    model.parameters().initialize(4);
    const TaskScore by_hand = score_by_hand(model, *task, 7, 23);
    for (const std::int64_t batch : {1, 5, 23, 100}) {
      const TaskScore score = evaluate_task(model, *task, {.seed = 7, .sequences = 23, .batch = batch});
      CHECK(score.answers.right == by_hand.answers.right);
      CHECK(score.answers.count == by_hand.answers.count);
      CHECK(score.tokens.right == by_hand.tokens.right);
      CHECK(score.tokens.count == by_hand.tokens.count);
      CHECK(score.sequences.right == by_hand.sequences.right);
      CHECK(score.sequences.count == 23);
      CHECK(std::abs(score.loss - by_hand.loss) < 1e-12);
      std::int64_t answers = 0;
      for (const auto& [position, share] : score.by_position) answers += share.count;
      CHECK(answers == score.answers.count);
      CHECK(score.by_hop.empty() == !std::string(text).starts_with("hashhop"));
      CHECK(score.by_distance.empty() == std::string(text).starts_with("parity"));
    }
  }
}

TEST_CASE("task evaluation: longer than the model's context, unless its positions are learned; errors") {
  const TaskPtr shorter = parse_task("induction(vocab=8,length=12)");
  const TaskPtr longer = parse_task("induction(vocab=8,length=40)");
  for (const Positions positions : {Positions::rope, Positions::none, Positions::learned}) {
    Decoder model(task_config(*shorter, positions), {DType::f64, test_device()});
    model.parameters().initialize(4);
    CHECK(evaluate_task(model, *shorter, {.sequences = 9}).answers.count == 9);
    if (positions == Positions::learned) {
      CHECK_THROWS_WITH_AS(
          evaluate_task(model, *longer, {}),
          doctest::Contains("its sequences have 40 tokens, and the model has learned positions for 12"), ValueError);
      continue;
    }
    // The same weights in a model of that context say the same.
    Decoder wide(task_config(*longer, positions), {DType::f64, test_device()});
    wide.parameters().initialize(4);
    const TaskScore a = evaluate_task(model, *longer, {.sequences = 30});
    const TaskScore b = evaluate_task(wide, *longer, {.sequences = 30});
    CHECK(a.answers.right == b.answers.right);
    CHECK(std::abs(a.loss - b.loss) < 1e-12);
  }
  Decoder model(task_config(*shorter), {DType::f64, test_device()});
  CHECK_THROWS_WITH_AS(evaluate_task(model, *parse_task("induction(vocab=9,length=12)"), {}),
                       doctest::Contains("a model with at least 9 tokens is required; this one has 8"), ValueError);
  CHECK_THROWS_WITH_AS(evaluate_task(model, *shorter, {.sequences = 0}), doctest::Contains("at least one sequence"),
                       ValueError);
  model.parameters().at("embed.weight").value.fill(INFINITY);
  CHECK_THROWS_AS(evaluate_task(model, *shorter, {}), NotFinite);
}

struct TaskRun {
  TaskBatches data;
  Decoder model;
  AdamW optimizer{model.parameters(), {}};
  Schedule schedule{.lr = 1e-2, .min_lr = 1e-3, .warmup = 3, .steps = 400};

  explicit TaskRun(const char* task = "mqar(pairs=3,vocab=8,length=16)", DType dtype = DType::f32)
      : data(parse_task(task)), model(task_config(data.task()), {dtype, test_device()}) {
    model.parameters().initialize(1);
  }
};

TEST_CASE("task training: a step of any trainer is that of batches by hand, and only answers count") {
  for (const std::int64_t accumulate : {1, 2}) {
    TaskRun run;
    const auto trainer = make_trainer(run.model, run.optimizer, run.data,
                                      {.batch = 4, .accumulate = accumulate, .schedule = run.schedule});
    trainer->start(0, Rng(9, 77));
    for (int i = 0; i < 6; ++i) trainer->queue();
    const Trainer::Result result = trainer->wait();

    TaskRun hand;
    TrainStep step(hand.model, hand.optimizer);
    const Tensor tokens = Tensor::empty({accumulate * 4, 16}, DType::i32);
    const Tensor targets = Tensor::empty({accumulate * 4, 16}, DType::i32);
    Rng rng(9, 77);
    double loss = 0;
    for (std::int64_t t = 0; t < 6; ++t) {
      loss = accumulate_batches(step, hand.data, rng, accumulate, tokens, targets);
      if (t == 0) {  // the loss is the mean over the answers alone
        const Tensor logits = TaskRun().model.logits(tokens).to(kCpu);
        double sum = 0;
        int count = 0;
        for (std::int64_t i = 0; i < targets.numel(); ++i) {
          if (targets.at(i) < 0) continue;
          double total = 0;
          for (std::int64_t v = 0; v < 8; ++v) total += std::exp(logits.at(i * 8 + v));
          sum += std::log(total) - logits.at(i * 8 + static_cast<std::int64_t>(targets.at(i)));
          ++count;
        }
        CHECK(count == 12 * accumulate);
        CHECK(std::abs(loss - sum / count) < 1e-5);
      }
      step.apply(run.schedule.at(t));
    }
    CHECK(result.loss == loss);
    CHECK(result.rng_counter == rng.counter());
    CHECK(run.model.parameters().flat().equal_bits(hand.model.parameters().flat()));
  }
}

TEST_CASE("task training: micro-batches with different numbers of answers make the step of one batch of all") {
  struct Step {
    Trainer::Result result;
    Tensor weights;
  };
  const auto train = [](std::int64_t accumulate) {
    TaskRun run("hashhop(hops=3,chains=2,letters=2,cot=true)", DType::f64);
    const auto trainer = make_trainer(run.model, run.optimizer, run.data,
                                      {.batch = 8 / accumulate, .accumulate = accumulate, .schedule = run.schedule});
    trainer->start(0, Rng(9, 77));
    for (int i = 0; i < 5; ++i) trainer->queue();
    const Trainer::Result result = trainer->wait();
    return Step{result, run.model.parameters().flat().to(kCpu).clone()};
  };
  const Step one = train(1);
  for (const std::int64_t accumulate : {2, 4, 8}) {
    INFO(accumulate);
    const Step several = train(accumulate);
    CHECK(std::abs(several.result.loss - one.result.loss) < 1e-9);
    CHECK(std::abs(several.result.gradient_norm - one.result.gradient_norm) < 1e-9);
    CHECK(several.result.rng_counter == one.result.rng_counter);
    double worst = 0;
    for (std::int64_t i = 0; i < one.weights.numel(); ++i) {
      worst = std::max(worst, std::abs(several.weights.at(i) - one.weights.at(i)));
    }
    CHECK(worst < 1e-6);  // AdamW divides by the root of small numbers
  }
}

TEST_CASE("task training: a micro-batch without any answer adds nothing") {
  CHECK(std::isinf(target_divisor(0, 3, 2)));
  CHECK(target_divisor(1, 3, 2) == 3);
  CHECK(target_divisor(0, 0, 4) == 4);
  CHECK(target_divisor(12, 24, 2) == 2);
  TaskRun run("mqar(pairs=3,vocab=8,length=16)", DType::f64);
  TaskRun alone("mqar(pairs=3,vocab=8,length=16)", DType::f64);
  Rng rng(5);
  const Tensor tokens = Tensor::empty({4, 16}, DType::i32);
  const Tensor targets = Tensor::empty({4, 16}, DType::i32);
  run.data.sample_batch(rng, tokens, targets);
  TrainStep step(run.model, run.optimizer);
  step.accumulate(tokens, Tensor::full({4, 16}, DType::i32, -1), target_divisor(0, 12, 2));
  step.accumulate(tokens, targets, target_divisor(12, 12, 2));
  TrainStep other(alone.model, alone.optimizer);
  other.accumulate(tokens, targets);
  CHECK(step.gradients().flat().equal_bits(other.gradients().flat()));
}

TEST_CASE("task training: a stream that is continued in the middle gives the same weights") {
  TaskRun whole;
  const auto trainer = make_trainer(whole.model, whole.optimizer, whole.data, {.batch = 4, .schedule = whole.schedule});
  trainer->start(0, Rng(9, kFirstDraw));
  for (int i = 0; i < 9; ++i) trainer->queue();
  trainer->wait();
  TaskRun parts;
  std::uint64_t counter = kFirstDraw;
  for (const std::int64_t begin : {0, 4}) {
    const auto part = make_trainer(parts.model, parts.optimizer, parts.data, {.batch = 4, .schedule = parts.schedule});
    part->start(begin, Rng(9, counter));
    for (std::int64_t i = begin; i < (begin == 0 ? 4 : 9); ++i) part->queue();
    counter = part->wait().rng_counter;
  }
  CHECK(counter == kFirstDraw + 36);
  CHECK(whole.model.parameters().flat().equal_bits(parts.model.parameters().flat()));
}

TEST_CASE("task training: a small model learns to copy") {
  const TaskBatches data(parse_task("copy(count=4,vocab=6)"));
  Decoder model(task_config(data.task()), {DType::f32, test_device()});
  model.parameters().initialize(1);
  AdamW optimizer(model.parameters(), {});
  const auto trainer = make_trainer(
      model, optimizer, data, {.batch = 16, .schedule = {.lr = 1e-2, .min_lr = 1e-3, .warmup = 20, .steps = 400}});
  trainer->start(0, Rng(1, kFirstDraw));
  for (int i = 0; i < 400; ++i) trainer->queue();
  trainer->wait();
  const TaskScore score = evaluate_task(model, data.task(), {.sequences = 200});
  CHECK(score.answers.share() > 0.9);
  CHECK(score.answers.count == 800);
  CHECK(score.by_position.size() == 4);
}

#if defined(MIXGRAD_CUDA)
TEST_CASE("task training: a captured step gives the bits of its kernels one by one") {
  if (!test_device().is_cuda()) {
    std::fputs("ABSENT: graphs of training steps need MIXGRAD_DEVICE=cuda\n", stderr);
    return;
  }
  const auto train = [](TaskRun& run, Trainer::Launch launch) {
    const auto trainer = cuda::make_graph_trainer(
        run.model, run.optimizer, run.data, {.batch = 4, .accumulate = 2, .schedule = run.schedule, .launch = launch});
    trainer->start(0, Rng(9, 77));
    for (int i = 0; i < 30; ++i) trainer->queue();
    return trainer->wait();
  };
  TaskRun graph;
  TaskRun eager;
  const Trainer::Result a = train(graph, Trainer::Launch::captured);
  const Trainer::Result b = train(eager, Trainer::Launch::kernel_by_kernel);
  CHECK(a.loss == b.loss);
  CHECK(a.rng_counter == b.rng_counter);
  CHECK(a.rng_counter == 77 + 30 * 8);
  CHECK(graph.model.parameters().flat().equal_bits(eager.model.parameters().flat()));
}
#endif

}  // namespace
}  // namespace mixgrad::test
