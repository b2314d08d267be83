#include "nn/training/graph_trainer.h"

#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "core/allocator.h"
#include "core/cuda/launch.cuh"
#include "nn/training/device_batches.cuh"
#include "nn/training/optimizers/optimizer_blocks.cuh"
#include "ops/matmul/choices.h"

namespace mixgrad::cuda {
namespace {

constexpr int kMaxUnderWay = 4;  // steps that are queued and have not run

Tensor on_device(const DeviceProgress& progress, Device device) {
  const Tensor host = Tensor::empty({kDeviceProgressNumbers}, DType::f64);
  std::memcpy(host.raw(), &progress, sizeof progress);
  return host.to(device);
}

void begin_step(const StepMemory& memory, const Tensor& rates, double parts) {
  DeviceProgress* trainer = memory.trainer;
  StepProgress* optimizer = memory.optimizer;
  const double* values = rates.data<double>();
  const std::int64_t count = rates.numel();
  for_each("train step", memory.device, 1, [=] __device__(std::int64_t) {
    trainer->loss = 0;
    trainer->divisor = parts;
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

class CapturingTrainer final : public GraphTrainer {
 public:
  CapturingTrainer(Decoder& model, Optimizer& optimizer, const BatchStream& data, const Options& options)
      : model_(model),
        optimizer_(optimizer),
        options_(options),
        device_(model.device()),
        gradients_(model.parameters().new_gradients()),
        rates_(upload(options.schedule)),
        tokens_(Tensor::zeros({options.batch, model.config().context}, DType::i32, device_)),
        targets_(Tensor::zeros({options.batch, model.config().context}, DType::i32, device_)),
        progress_(Tensor::zeros({kDeviceProgressNumbers}, DType::f64, device_)),
        pool_(device_) {
    data.check_context(model.config().context);
    if (data.text() != nullptr && on_device(*data.text(), options, device_)) {
      batches_ = std::make_unique<ResidentText>(*data.text(), options.batch, device_);
    } else {
      batches_ = std::make_unique<StreamedBatches>(data, options.accumulate, options.batch, tokens_.dim(1), device_);
    }
    for (int i = 0; i < kMaxUnderWay; ++i) ends_.push_back(std::make_unique<Event>(device_));
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
    if (queued_ >= kMaxUnderWay) end.wait();
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
    ++queued_;
    ++begun_;
  }

  Result wait() override {
    synchronize(device_);
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
            .halted = optimizer.halted != 0};
  }

  std::int64_t steps_under_way() const override { return kMaxUnderWay; }
  std::size_t graph_nodes() const override { return graph_.nodes(); }

 private:
  Event& end_of(std::int64_t queued) { return *ends_[static_cast<std::size_t>(queued % kMaxUnderWay)]; }

  Tensor upload(const Schedule& schedule) const {
    const Tensor host = Tensor::empty({schedule.steps}, DType::f64);
    for (std::int64_t t = 0; t < schedule.steps; ++t) host.data<double>()[t] = schedule.at(t);
    return host.to(device_);
  }

  void capture() {
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
    begin_step(memory, rates_, static_cast<double>(options_.accumulate));
    for (std::int64_t part = 0; part < options_.accumulate; ++part) {
      batches_->fill(memory, part, tokens_, targets_);
      Tape tape;
      model_.parameters().watch(tape);
      const DropoutMask dropout = options_.dropout.in_step_at(&memory.trainer->step, options_.accumulate, part);
      const Tensor loss = model_.loss(tokens_, targets_, dropout);
      const Tensor cotangent = Tensor::empty(loss.shape(), loss.dtype(), device_);
      dispatch_accumulation(loss.dtype(), "train step", [&]<class T>() { add_loss<T>(memory, loss, cotangent); });
      const Tape::Seed seed{loss, cotangent};
      std::move(tape).backward(std::span(&seed, 1), gradients_);
    }
    optimizer_.queue_step(gradients_);
    gradients_.clear();
    end_step(memory);
  }

  Decoder& model_;
  Optimizer& optimizer_;
  Options options_;
  Device device_;
  Gradients gradients_;
  Tensor rates_;             // [steps] f64
  Tensor tokens_, targets_;  // [B,T] i32
  std::unique_ptr<BatchSource> batches_;
  Tensor progress_;   // holds a DeviceProgress
  PrivatePool pool_;  // of the graph: outlives it
  Graph graph_;
  std::vector<std::unique_ptr<Event>> ends_;  // of the steps under way
  std::int64_t queued_ = 0;
  std::int64_t begun_ = 0;  // queued since start(), as the device counts them
};

}  // namespace

std::unique_ptr<GraphTrainer> make_graph_trainer(Decoder& model, Optimizer& optimizer, const BatchStream& data,
                                                 const Trainer::Options& options) {
  return std::make_unique<CapturingTrainer>(model, optimizer, data, options);
}

}  // namespace mixgrad::cuda
