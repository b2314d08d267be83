#include "nn/training/memory_plan.h"

#include <algorithm>
#include <set>
#include <vector>

#include "core/allocator.h"
#include "nn/training/evaluation.h"
#include "nn/training/training.h"

namespace mixgrad {
namespace {

using Events = std::vector<PoolEvent>;

template <class Run>
Events traced(Device device, const Run& run) {
  PoolTrace trace(device);
  run();
  return std::move(trace.events);
}

// One after the other; each numbers its blocks from 1.
void append(Events& all, const Events& more) {
  std::int64_t offset = 0;
  for (const PoolEvent& event : all) offset = std::max(offset, event.block);
  for (const PoolEvent& event : more) all.push_back({event.block + offset, event.bytes});
}

// What was handed out and not given back.
Events left_over(const Events& events) {
  std::set<std::int64_t> back;
  for (const PoolEvent& event : events) {
    if (event.bytes == 0) back.insert(event.block);
  }
  Events left;
  for (const PoolEvent& event : events) {
    if (event.bytes > 0 && back.count(event.block) == 0) left.push_back(event);
  }
  return left;
}

bool same_order(const Events& a, const Events& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](const PoolEvent& x, const PoolEvent& y) {
           return x.block == y.block && (x.bytes == 0) == (y.bytes == 0);
         });
}

// From the events at the batches a < b those at `batch`.
Events extrapolate(const Events& at_a, std::int64_t a, const Events& at_b, std::int64_t b, std::int64_t batch) {
  Events events = at_b;
  for (std::size_t i = 0; i < events.size(); ++i) {
    const auto low = static_cast<std::int64_t>(at_a[i].bytes);
    const auto high = static_cast<std::int64_t>(at_b[i].bytes);
    if (high > 0)
      events[i].bytes =
          static_cast<std::size_t>(std::max<std::int64_t>(high + (high - low) * (batch - b) / (b - a), 1));
  }
  return events;
}

Events trace_step(Decoder& model, TrainStep& step, std::int64_t batch) {
  return traced(model.device(), [&] {
    const Tensor tokens = Tensor::zeros({batch, model.config().context}, DType::i32);
    const Tensor targets = Tensor::zeros({batch, model.config().context}, DType::i32);
    step.accumulate(tokens, targets);
    step.discard();
  });
}

Events trace_evaluation(const Decoder& model, std::int64_t batch) {
  return traced(model.device(), [&] {
    const Tensor tokens = Tensor::zeros({batch, model.config().context}, DType::i32);
    const Tensor targets = Tensor::zeros({batch, model.config().context}, DType::i32);
    model.loss(tokens, targets);
  });
}

}  // namespace

MemoryPlan plan_training(const ModelConfig& config, Placement place, std::int64_t batch) {
  const Device device = place.device;
  MemoryPlan plan;
  std::unique_ptr<Decoder> model;
  std::unique_ptr<AdamW> optimizer;
  std::unique_ptr<TrainStep> step;
  const Events parameters = traced(device, [&] { model = std::make_unique<Decoder>(config, place); });
  const Events moments =
      traced(device, [&] { optimizer = std::make_unique<AdamW>(model->parameters(), AdamWOptions{}); });
  const Events gradients = traced(device, [&] { step = std::make_unique<TrainStep>(*model, *optimizer); });
  plan.parameters = replay_pool(parameters).in_use;
  plan.optimizer = replay_pool(moments).in_use;
  plan.gradients = replay_pool(gradients).in_use;

  Events all = parameters;
  append(all, moments);
  append(all, gradients);
  // The first step of all also makes what operators keep between calls, such as tables of angles.
  const Events first = trace_step(*model, *step, 1);
  append(all, left_over(first));

  const std::size_t one = replay_pool(first).peak;
  const auto fits = [&](std::int64_t b) {
    return static_cast<double>(b) * static_cast<double>(one) < static_cast<double>(free_memory_on(device)) / 2;
  };
  // Near the real batch: a size that stops growing in between, such as a chunk of logits, is then hardly overrated.
  std::int64_t low = batch - batch / 4;
  std::int64_t high = batch - batch / 8;
  if (batch < 8) low = high = batch;  // exactly
  if (!fits(high)) low = 1, high = 2;
  plan.traced_batch = high;
  Events of_step = trace_step(*model, *step, high);
  if (high != batch) {
    const Events lower = trace_step(*model, *step, low);
    if (same_order(lower, of_step)) of_step = extrapolate(lower, low, of_step, high, batch);
  }
  const std::int64_t eval = fits(kEvalBatch) ? kEvalBatch : 1;
  append(all, of_step);
  append(all, of_step);
  append(all, trace_evaluation(*model, eval));

  const PoolStats stats = replay_pool(all);
  plan.peak = stats.peak;
  plan.reserved = stats.in_use + stats.cached;
  plan.activations = plan.peak - plan.parameters - plan.gradients - plan.optimizer;
  return plan;
}

}  // namespace mixgrad
