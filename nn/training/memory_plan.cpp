#include "nn/training/memory_plan.h"

#include <algorithm>
#include <set>
#include <vector>

#include "core/allocator.h"
#include "nn/distributed/device_sums.h"
#include "nn/evaluation/evaluation.h"
#include "nn/training/train_step.h"

namespace mixgrad {
namespace {

using Events = std::vector<PoolEvent>;

template <class Run>
Events traced(Device device, const Run& run) {
  PoolTrace trace(device);
  run();
  return std::move(trace.events);
}

// Puts `more` behind `all`. Each numbers its blocks from 1.
void append(Events& all, const Events& more) {
  std::int64_t offset = 0;
  for (const PoolEvent& event : all) offset = std::max(offset, event.block);
  for (const PoolEvent& event : more) all.push_back({event.block + offset, event.bytes});
}

// The blocks that were handed out and not returned.
Events left_over(const Events& events) {
  std::set<std::int64_t> returned;
  for (const PoolEvent& event : events) {
    if (event.bytes == 0) returned.insert(event.block);
  }
  Events left;
  for (const PoolEvent& event : events) {
    if (event.bytes > 0 && returned.count(event.block) == 0) left.push_back(event);
  }
  return left;
}

bool same_order(const Events& a, const Events& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](const PoolEvent& x, const PoolEvent& y) {
           return x.block == y.block && (x.bytes == 0) == (y.bytes == 0);
         });
}

// The events at `batch`, from those at the batches a < b.
Events extrapolate(const Events& at_a, std::int64_t a, const Events& at_b, std::int64_t b, std::int64_t batch) {
  Events events = at_b;
  for (std::size_t i = 0; i < events.size(); ++i) {
    const auto low = static_cast<std::int64_t>(at_a[i].bytes);
    const auto high = static_cast<std::int64_t>(at_b[i].bytes);
    if (high == 0) continue;
    events[i].bytes = static_cast<std::size_t>(std::max<std::int64_t>(high + (high - low) * (batch - b) / (b - a), 1));
  }
  return events;
}

// On the device of a job whose other ranks are not there.
class PlannedSums final : public DeviceSums {
 public:
  explicit PlannedSums(Device device) : DeviceSums(device) {}
  std::string library() const override { return "none"; }
  void reserve(std::int64_t, DType) override {}
  void add_up(std::span<const Summand>, DType) override {}
  void gather_shares(std::span<const SharedTensor>) override {}
  void join() override {}
  void wait(const std::string&) override {}
  void set_mark(std::size_t) override {}
  void wait_for_mark(std::size_t, const std::string&) override {}
  void abandon() noexcept override {}
};

// The rank 0 of a job whose other ranks are not there: nothing is sent.
class PlannedRank final : public Communicator {
 public:
  PlannedRank(int size, Device device) : Communicator(0, size) {
    if (device.is_cuda()) use_device_sums(std::make_unique<PlannedSums>(device));
  }
  std::string transport() const override { return "none"; }
  bool leave(const std::string&) noexcept override { return false; }

 protected:
  void gather_bytes(std::span<const std::byte>, std::span<std::byte>, std::span<const std::int64_t>) override {}
  void exchange_bytes(std::span<const std::byte>, std::span<const std::int64_t>, std::span<std::byte>,
                      std::span<const std::int64_t>) override {}
  void sum_any(const Tensor&) override {}
};

Events trace_step(Decoder& model, TrainStep& step, std::int64_t batch, const DropoutMask& dropout, ReduceOrder order,
                  Communicator& rank) {
  return traced(model.device(), [&] {
    const Tensor tokens = Tensor::zeros({batch, model.config().context}, DType::i32);
    const Tensor targets = Tensor::zeros({batch, model.config().context}, DType::i32);
    const bool part = order == ReduceOrder::rank;
    step.accumulate(tokens, targets, 1, dropout, part ? TrainStep::Into::part : TrainStep::Into::sum);
    if (part) step.add_part(rank, kBucketBytes);
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

// The batches that are run: low < high, both at most the real one, or twice the real one itself.
struct TracedBatches {
  std::int64_t low, high;
};

// Near the real batch: a size that stops growing in between, such as a chunk of logits, is then hardly overrated.
template <class Fits>
TracedBatches choose_batches(std::int64_t batch, const Fits& fits) {
  const TracedBatches near =
      batch < 8 ? TracedBatches{batch, batch} : TracedBatches{batch - batch / 4, batch - batch / 8};
  return fits(near.high) ? near : TracedBatches{1, 2};
}

// The events of a step of `batch` sequences.
Events trace_batch(Decoder& model, TrainStep& step, const TracedBatches& traced_batches, std::int64_t batch,
                   const DropoutMask& dropout, ReduceOrder order, Communicator& rank) {
  const Events high = trace_step(model, step, traced_batches.high, dropout, order, rank);
  if (traced_batches.high == batch) return high;
  const Events low = trace_step(model, step, traced_batches.low, dropout, order, rank);
  if (!same_order(low, high)) return high;
  return extrapolate(low, traced_batches.low, high, traced_batches.high, batch);
}

}  // namespace

MemoryPlan plan_training(const ModelConfig& config, Placement placement, const OptimizerSettings& settings,
                         std::int64_t batch, const DropoutMask& dropout, const ObjectiveMaker& objective,
                         Intermediates intermediates, const PlannedRanks& ranks) {
  const RecomputeScope scope(intermediates);
  const Device device = placement.device;
  MemoryPlan plan;
  PlannedRank rank(ranks.shares, device);
  std::unique_ptr<Decoder> model;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<TrainStep> step;
  std::unique_ptr<Objective> own;
  const auto make_model = [&] { model = std::make_unique<Decoder>(config, placement); };
  const auto make_objective = [&] { own = objective ? objective(*model) : nullptr; };
  const auto make_state = [&] { optimizer = make_optimizer(settings, model->parameters()); };
  Events all = traced(device, make_model);
  plan.parameters = replay_pool(all).in_use;
  const Events kept = traced(device, make_objective);
  const Events state = traced(device, make_state);
  plan.objective = replay_pool(kept).in_use;
  plan.optimizer = replay_pool(state).in_use;
  plan.checkpoint = static_cast<std::size_t>(model->parameters().master().bytes()) + plan.optimizer;
  if (rank.alone()) {
    append(all, kept);
    append(all, state);
  } else {  // again in one trace, which notes that the whole state and the whole masters are given back
    optimizer.reset();
    own.reset();
    model.reset();
    all = traced(device, [&] {
      make_model();
      make_objective();
      make_state();
      optimizer->shard(rank);
    });
    const ParameterSet& divided = model->parameters();
    if (divided.masters_divided()) {
      plan.parameters = divided.flat().bytes() + divided.master().bytes() + divided.kept().bytes();
    }
    plan.optimizer = replay_pool(all).in_use - plan.parameters - plan.objective;
  }
  Tensor sent;
  const Events gradients = traced(device, [&] {
    step = std::make_unique<TrainStep>(*model, *optimizer, own.get());
    if (ranks.order == ReduceOrder::rank) step->reserve_part();
    const std::int64_t sent_numbers = std::min(ranks.sent_in_bf16, model->parameters().flat().numel());
    if (sent_numbers > 0) sent = Tensor::zeros({sent_numbers}, DType::bf16, device);
  });
  plan.gradients = replay_pool(gradients).in_use;
  append(all, gradients);
  // The very first step also makes what operators keep between calls, such as tables of angles.
  const Events first = trace_step(*model, *step, 1, dropout, ranks.order, rank);
  append(all, left_over(first));

  const std::size_t one = replay_pool(first).peak;
  const auto fits = [&](std::int64_t b) {
    return static_cast<double>(b) * static_cast<double>(one) < static_cast<double>(free_memory_on(device)) / 2;
  };
  const TracedBatches traced_batches = choose_batches(batch, fits);
  plan.traced_batch = traced_batches.high;
  const Events of_step = trace_batch(*model, *step, traced_batches, batch, dropout, ranks.order, rank);
  const std::int64_t eval = fits(kEvalBatch) ? kEvalBatch : 1;
  append(all, of_step);
  append(all, of_step);
  append(all, trace_evaluation(*model, eval));
  // A checkpoint has the whole state, which is gathered in the memory of the host.
  append(all, traced(device, [&] {
           optimizer->collect_state();
           optimizer->drop_collected_state();
         }));

  const PoolStats stats = replay_pool(all);
  plan.peak = stats.peak;
  plan.reserved = stats.in_use + stats.cached;
  plan.activations = plan.peak - plan.parameters - plan.gradients - plan.optimizer - plan.objective;
  return plan;
}

}  // namespace mixgrad
