#include "nn/training/graph_trainer.h"

#include <cstring>
#include <exception>
#include <optional>
#include <span>
#include <vector>

#include "core/allocator.h"
#include "core/cuda/launch.cuh"
#include "core/cuda/timed_event.h"
#include "nn/distributed/device_sums.h"
#include "nn/training/device_batches.cuh"
#include "nn/training/gradient_buckets.h"
#include "nn/training/optimizers/optimizer_blocks.cuh"
#include "nn/training/train_step.h"
#include "ops/matmul/choices.h"

namespace mixgrad::cuda {
namespace {

constexpr int kMaxUnderWay = 4;  // steps that are queued and have not run

Tensor on_device(const DeviceProgress& progress, Device device) {
  const Tensor host = Tensor::empty({kDeviceProgressNumbers}, DType::f64);
  std::memcpy(host.raw(), &progress, sizeof progress);
  return host.to(device);
}

// `divisor`: that of each micro-batch, unless the batch source sets another one because it counts targets.
void begin_step(const StepMemory& memory, const Tensor& rates, double divisor) {
  DeviceProgress* trainer = memory.trainer;
  StepProgress* optimizer = memory.optimizer;
  const double* values = rates.data<double>();
  const std::int64_t count = rates.numel();
  for_each("train step", memory.device, 1, [=] __device__(std::int64_t) {
    trainer->loss = 0;
    trainer->divisor = divisor;
    trainer->next_counter = trainer->counter;
    if (optimizer->halted == 0) optimizer->learning_rate = values[trainer->step < count ? trainer->step : count - 1];
  });
}

// Adds the loss of a micro-batch, and makes the cotangent of its gradients: both divided by the micro-batch's divisor.
template <class T>
void add_loss(const StepMemory& memory, const Tensor& loss, const Tensor& cotangent) {
  DeviceProgress* trainer = memory.trainer;
  StepProgress* optimizer = memory.optimizer;
  const T* value = loss.data<T>();
  T* seed = cotangent.data<T>();
  for_each("train step", memory.device, 1, [=] __device__(std::int64_t) {
    trainer->loss += static_cast<double>(*value) / trainer->divisor;
    *seed = static_cast<T>(1.0 / trainer->divisor);
    if (optimizer->halted == 0) optimizer->loss = trainer->loss;
  });
}

// The loss of this rank goes into `sum`, which is then summed over the ranks; the sum is the loss of the job, which the
// optimizer reads.
void write_loss_to(const StepMemory& memory, const Tensor& sum) {
  const DeviceProgress* trainer = memory.trainer;
  double* value = sum.data<double>();
  for_each("train step", memory.device, 1, [=] __device__(std::int64_t) { *value = trainer->loss; });
}
void read_loss_from(const StepMemory& memory, const Tensor& sum) {
  StepProgress* optimizer = memory.optimizer;
  const double* value = sum.data<double>();
  for_each("train step", memory.device, 1, [=] __device__(std::int64_t) {
    if (optimizer->halted == 0) optimizer->loss = *value;
  });
}

void end_step(const StepMemory& memory) {
  DeviceProgress* trainer = memory.trainer;
  const StepProgress* optimizer = memory.optimizer;
  for_each("train step", memory.device, 1, [=] __device__(std::int64_t) {
    ++trainer->begun;
    if (optimizer->halted != 0) return;
    ++trainer->step;
    trainer->counter = trainer->next_counter;
  });
}

bool on_device(const TokenData& data, const Trainer::Options& options, Device device) {
  switch (options.text) {
    case Trainer::TextMemory::device: return true;
    case Trainer::TextMemory::host: return false;
    case Trainer::TextMemory::automatic: break;
  }
  const std::size_t bytes = static_cast<std::size_t>(data.train().size()) * sizeof(std::int32_t);
  return bytes <= memory_info(device).total / 8;
}

// What a trainer does with the other ranks of a job: it sums gradients and losses on the device.
class RankSums {
 public:
  RankSums(Communicator& ranks, const ReduceOptions& reduce, const ParameterSet& parameters,
           std::span<const std::int64_t> share_begins, Device device)
      : sums_(ranks.on_device(device)),
        share_begins_(share_begins),
        sent_(reduce.dtype),
        buckets_(FlatLayout(parameters.shapes()), numbers_of(reduce.bucket_bytes, parameters)),
        loss_(Tensor::zeros({1}, DType::f64, device)),
        wait_begins_(device),
        wait_ends_(device) {
    sums_.reserve(std::min(buckets_.most_numbers(), parameters.flat().numel()), sent_);
  }

  DeviceSums& sums() { return sums_; }

  // Runs the backward pass of the last micro-batch, and meanwhile sums the loss and each piece of the gradients.
  template <class Backward>
  void run(const StepMemory& memory, const Gradients& gradients, const Backward& backward) {
    write_loss_to(memory, loss_);
    const DeviceSums::Summand loss[] = {{loss_}};
    sums_.add_up(loss, DType::f64);
    GradientBuckets::Watch watch(buckets_, gradients, [&](std::span<const GradientBuckets::Part> parts) {
      pieces_.clear();
      for (const auto& [begin, end] : parts) {
        DeviceSums::divide(gradients.flat().slice(begin, end), begin, share_begins_, pieces_);
      }
      sums_.add_up(pieces_, sent_);
    });
    backward();
    watch.finish();
    wait_begins_.record();
    sums_.join();
    wait_ends_.record();
    read_loss_from(memory, loss_);
  }
  double milliseconds_waited() const { return wait_ends_.milliseconds_since(wait_begins_); }

 private:
  static std::int64_t numbers_of(std::size_t bytes, const ParameterSet& parameters) {
    return static_cast<std::int64_t>(bytes / dtype_bytes(parameters.master().dtype()));
  }

  DeviceSums& sums_;
  std::span<const std::int64_t> share_begins_;  // of the optimizer; empty: every rank gets all sums
  DType sent_;
  GradientBuckets buckets_;
  Tensor loss_;  // [1] f64
  std::vector<DeviceSums::Summand> pieces_;
  TimedEvent wait_begins_, wait_ends_;
};

OwnRows own_rows(const Trainer::Options& options) {
  const StepRanks ranks = StepRanks::of(options.ranks, options.reduce);
  return {ranks.begin(options.batch), ranks.end(options.batch), options.batch, ranks.size};
}

class CapturingTrainer final : public GraphTrainer {
 public:
  CapturingTrainer(Decoder& model, Optimizer& optimizer, const BatchStream& data, const Options& options)
      : model_(model),
        optimizer_(optimizer),
        options_(options),
        device_(model.device()),
        gradients_(model.parameters().new_gradients()),
        rates_(upload(options.schedule)),
        rows_(own_rows(options)),
        tokens_(Tensor::zeros({rows_.count(), model.config().context}, DType::i32, device_)),
        targets_(Tensor::zeros({rows_.count(), model.config().context}, DType::i32, device_)),
        progress_(Tensor::zeros({kDeviceProgressNumbers}, DType::f64, device_)),
        pool_(device_) {
    data.check_context(model.config().context);
    if (data.text() != nullptr && on_device(*data.text(), options, device_)) {
      batches_ = std::make_unique<ResidentText>(*data.text(), rows_, device_);
    } else {
      batches_ = std::make_unique<StreamedBatches>(data, options.accumulate, rows_, tokens_.dim(1), device_);
    }
    if (rows_.ranks > 1) {
      ranks_.emplace(*options.ranks, options.reduce, model.parameters(), optimizer.share_begins(), device_);
    }
    for (int i = 0; i < kMaxUnderWay; ++i) ends_.push_back(std::make_unique<Event>(device_));
  }

  // Memory is given back when the device has nothing more to do: sums that wait for a rank that is gone are ended
  // first.
  ~CapturingTrainer() override {
    if (ranks_ && std::uncaught_exceptions() > uncaught_) ranks_->sums().abandon();
  }

  void start(std::int64_t step, const Rng& rng) override {
    progress_.copy_from(on_device({.seed = rng.seed(),
                                   .counter = rng.counter(),
                                   .next_counter = rng.counter(),
                                   .step = step,
                                   .begun = 0,
                                   .loss = 0,
                                   .divisor = 1},
                                  device_));
    batches_->start(rng);
    begun_ = 0;
    StepProgress progress;
    progress.steps = static_cast<double>(optimizer_.steps());
    optimizer_.write_progress(progress);
  }

  void queue() override {
    Event& end = end_of(queued_);
    if (queued_ >= kMaxUnderWay) wait_for_step(queued_ - kMaxUnderWay);
    batches_->prepare(begun_, begun_ < 2 ? nullptr : &end_of(queued_ - 2));
    if (graph_.ready()) {
      graph_.launch();
    } else if (queued_ == 0 || options_.launch == Launch::kernel_by_kernel) {
      std::optional<MatmulTiming> timing;
      if (queued_ == 0 && options_.products == ProductAlgorithms::timed) timing.emplace();
      step();  // also uploads constant tables, makes handles, loads kernels
    } else {
      capture();
      graph_.launch();
    }
    end.record();
    if (ranks_) ranks_->sums().set_mark(mark_of(queued_));
    ++queued_;
    ++begun_;
  }

  Result wait() override {
    wait_for_all();
    const Tensor host = progress_.to(kCpu);
    DeviceProgress trainer{};
    std::memcpy(&trainer, host.raw(), sizeof trainer);
    const StepProgress optimizer = optimizer_.read_progress();
    optimizer_.set_steps(static_cast<std::int64_t>(optimizer.steps));
    return {.loss = optimizer.loss,
            .gradient_norm = optimizer.norm,
            .learning_rate = optimizer.learning_rate,
            .step = trainer.step,
            .rng_counter = trainer.counter,
            .halted = optimizer.halted != 0,
            .waited_ms = ranks_ && queued_ > 0 ? ranks_->milliseconds_waited() : 0};
  }

  std::int64_t steps_under_way() const override { return kMaxUnderWay; }
  std::size_t graph_nodes() const override { return graph_.nodes(); }

 private:
  static constexpr const char* kStep = "the sum of gradients";

  static std::size_t mark_of(std::int64_t queued) { return static_cast<std::size_t>(queued % kMaxUnderWay); }
  void wait_for_step(std::int64_t queued) {
    if (ranks_) return ranks_->sums().wait_for_mark(mark_of(queued), kStep);
    end_of(queued).wait();
  }
  void wait_for_all() {
    if (ranks_) ranks_->sums().wait(kStep);
    synchronize(device_);
  }

  Event& end_of(std::int64_t queued) { return *ends_[static_cast<std::size_t>(queued % kMaxUnderWay)]; }

  Tensor upload(const Schedule& schedule) const {
    const Tensor host = Tensor::empty({schedule.steps}, DType::f64);
    for (std::int64_t t = 0; t < schedule.steps; ++t) host.data<double>()[t] = schedule.at(t);
    return host.to(device_);
  }

  void capture() {
    wait_for_all();
    pool_trim(device_);  // the memory of the first step; the graph has a pool of its own
    const PrivatePool::Scope scope(pool_);
    Graph::Capture recording(graph_, device_);
    step();
    recording.finish();
  }

  void step() {
    const ContextScope scope(model_.context());
    const RecomputeScope intermediates(options_.intermediates);
    const StepMemory memory{device_, static_cast<DeviceProgress*>(progress_.raw()),
                            step_progress(optimizer_.progress())};
    const std::int64_t pieces = options_.accumulate * rows_.ranks;
    begin_step(memory, rates_, divisor());
    for (std::int64_t part = 0; part < options_.accumulate; ++part) {
      batches_->fill(memory, part, tokens_, targets_);
      Tape tape;
      model_.parameters().watch(tape);
      const std::int64_t piece = part * rows_.ranks + rank();
      const Tensor loss =
          model_.loss(tokens_, targets_, options_.dropout.in_step_at(&memory.trainer->step, pieces, piece));
      const Tensor cotangent = Tensor::empty(loss.shape(), loss.dtype(), device_);
      dispatch_accumulation(loss.dtype(), "train step", [&]<class T>() { add_loss<T>(memory, loss, cotangent); });
      const Tape::Seed seed{loss, cotangent};
      const auto backward = [&] { std::move(tape).backward(std::span(&seed, 1), gradients_); };
      if (ranks_ && part + 1 == options_.accumulate) {
        ranks_->run(memory, gradients_, backward);
      } else {
        backward();
      }
    }
    optimizer_.queue_step(gradients_);
    gradients_.clear();
    end_step(memory);
  }

  int rank() const { return options_.ranks == nullptr ? 0 : options_.ranks->rank(); }
  // As target_divisor() has it for micro-batches of which every token is a target.
  double divisor() const {
    const double parts = static_cast<double>(options_.accumulate);
    return parts * static_cast<double>(rows_.all) / static_cast<double>(rows_.count());
  }

  Decoder& model_;
  Optimizer& optimizer_;
  Options options_;
  Device device_;
  Gradients gradients_;
  Tensor rates_;  // [steps] f64
  OwnRows rows_;
  Tensor tokens_, targets_;  // [own rows,T] i32
  std::unique_ptr<BatchSource> batches_;
  Tensor progress_;   // holds a DeviceProgress
  PrivatePool pool_;  // of the graph: outlives it
  Graph graph_;
  std::vector<std::unique_ptr<Event>> ends_;  // of the steps under way
  std::optional<RankSums> ranks_;             // in a job of several
  int uncaught_ = std::uncaught_exceptions();
  std::int64_t queued_ = 0;
  std::int64_t begun_ = 0;  // queued since start(), as the device counts them
};

}  // namespace

std::unique_ptr<GraphTrainer> make_graph_trainer(Decoder& model, Optimizer& optimizer, const BatchStream& data,
                                                 const Trainer::Options& options) {
  return std::make_unique<CapturingTrainer>(model, optimizer, data, options);
}

}  // namespace mixgrad::cuda
