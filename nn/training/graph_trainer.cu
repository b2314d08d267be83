#include "nn/training/graph_trainer.h"

#include <cstring>
#include <optional>
#include <vector>

#include "core/allocator.h"
#include "core/cuda/launch.cuh"
#include "nn/training/device_batches.cuh"
#include "ops/matmul/choices.h"

namespace mixgrad::cuda {
namespace {

constexpr int kAhead = 4;  // steps that may be queued

template <class T>
Tensor on_device(const T& value, Device device) {
  const Tensor host = Tensor::empty({static_cast<std::int64_t>(sizeof(T) / sizeof(double))}, DType::f64);
  std::memcpy(host.raw(), &value, sizeof value);
  return host.to(device);
}

void begin(const Place& place, const Tensor& rates) {
  Walk* to = place.walk;
  AdamWDeviceState* optimizer = place.state;
  const double* values = rates.data<double>();
  const std::int64_t count = rates.numel();
  for_each("train step", place.device, 1, [=] __device__(std::int64_t) {
    to->loss = 0;
    to->next_counter = to->counter;
    if (optimizer->halted == 0) optimizer->learning_rate = values[to->step < count ? to->step : count - 1];
  });
}

template <class T>
void add_loss(const Place& place, const Tensor& loss, double parts) {
  Walk* walk = place.walk;
  AdamWDeviceState* state = place.state;
  const T* value = loss.data<T>();
  for_each("train step", place.device, 1, [=] __device__(std::int64_t) {
    walk->loss += static_cast<double>(*value) / parts;
    if (state->halted == 0) state->loss = walk->loss;
  });
}

void commit(const Place& place) {
  Walk* walk = place.walk;
  const AdamWDeviceState* state = place.state;
  for_each("train step", place.device, 1, [=] __device__(std::int64_t) {
    ++walk->turn;
    if (state->halted != 0) return;
    ++walk->step;
    walk->counter = walk->next_counter;
  });
}

class Trainer final : public GraphTrainer {
 public:
  Trainer(Decoder& model, AdamW& optimizer, const TokenData& data, const Options& options)
      : model_(model),
        optimizer_(optimizer),
        options_(options),
        device_(model.device()),
        gradients_(model.parameters().new_gradients()),
        rates_(upload(options.schedule)),
        tokens_(Tensor::zeros({options.batch, model.config().context}, DType::i32, device_)),
        targets_(Tensor::zeros({options.batch, model.config().context}, DType::i32, device_)),
        walk_(Tensor::zeros({kWalkNumbers}, DType::f64, device_)),
        pool_(device_) {
    data.check_context(model.config().context);
    if (options.resident) {
      batches_ = std::make_unique<ResidentText>(data, options.batch, device_);
    } else {
      batches_ = std::make_unique<StreamedText>(data, options.accumulate, options.batch, tokens_.dim(1), device_);
    }
    for (int i = 0; i < kAhead; ++i) under_way_.push_back(std::make_unique<Event>(device_));
  }

  void start(std::int64_t step, const Rng& rng) override {
    const Walk walk{rng.seed(), rng.counter(), rng.counter(), step, 0, 0};
    walk_.copy_from(on_device(walk, device_));
    batches_->start(rng);
    turn_ = 0;
    AdamWDeviceState state{};
    state.steps = optimizer_.steps();
    optimizer_.write_state(state);
  }

  void queue() override {
    Event& earlier = *under_way_[static_cast<std::size_t>(queued_ % kAhead)];
    if (queued_ >= kAhead) earlier.wait();
    batches_->prepare(turn_, turn_ < 2 ? nullptr : under_way_[static_cast<std::size_t>((queued_ - 2) % kAhead)].get());
    if (graph_.ready()) {
      graph_.launch();
    } else if (queued_ == 0 || !options_.capture) {
      std::optional<MatmulTiming> timing;
      if (queued_ == 0 && options_.time_products) timing.emplace();
      step();  // also uploads constant tables, makes handles, loads kernels
    } else {
      capture();
      graph_.launch();
    }
    earlier.record();
    ++queued_;
    ++turn_;
  }

  Result wait() override {
    synchronize(device_);
    const Tensor host = walk_.to(kCpu);
    Walk walk{};
    std::memcpy(&walk, host.raw(), sizeof walk);
    const AdamWDeviceState state = optimizer_.read_state();
    optimizer_.resume_at(state.steps);
    return {state.loss, state.norm, state.learning_rate, walk.step, walk.counter, state.halted != 0};
  }

  std::size_t graph_nodes() const override { return graph_.nodes(); }

 private:
  Tensor upload(const Schedule& schedule) const {
    const Tensor host = Tensor::empty({schedule.steps}, DType::f64);
    for (std::int64_t t = 0; t < schedule.steps; ++t) host.data<double>()[t] = schedule.at(t);
    return host.to(device_);
  }

  void capture() {
    pool_trim(device_);  // what the first step took: the graph has memory of its own
    const PrivatePool::Scope scope(pool_);
    Graph::Capture recording(graph_, device_);
    step();
    recording.finish();
  }

  void step() {
    const Place place{device_, static_cast<Walk*>(walk_.raw()),
                      static_cast<AdamWDeviceState*>(optimizer_.device_state().raw())};
    const auto parts = static_cast<double>(options_.accumulate);
    begin(place, rates_);
    for (std::int64_t part = 0; part < options_.accumulate; ++part) {
      batches_->take(place, part, tokens_, targets_);
      Tape tape;
      model_.parameters().watch(tape);
      const Tensor loss = model_.loss(tokens_, targets_);
      dispatch_accumulation(loss.dtype(), "train step", [&]<class T>() { add_loss<T>(place, loss, parts); });
      std::move(tape).backward(loss, gradients_, 1.0 / parts);
    }
    optimizer_.queue_step(gradients_);
    gradients_.clear();
    commit(place);
  }

  Decoder& model_;
  AdamW& optimizer_;
  Options options_;
  Device device_;
  Gradients gradients_;
  Tensor rates_;             // [steps] f64
  Tensor tokens_, targets_;  // [B,T] i32
  std::unique_ptr<Batches> batches_;
  Tensor walk_;       // holds a Walk
  PrivatePool pool_;  // of the graph: outlives it
  Graph graph_;
  std::vector<std::unique_ptr<Event>> under_way_;
  std::int64_t queued_ = 0;
  std::int64_t turn_ = 0;  // queued since start(), as the device counts them
};

}  // namespace

bool fits(const TokenData& data, Device device) {
  const std::size_t bytes = static_cast<std::size_t>(data.train().size()) * sizeof(std::int32_t);
  return bytes <= memory_info(device).total / 8;
}

std::unique_ptr<GraphTrainer> make_graph_trainer(Decoder& model, AdamW& optimizer, const TokenData& data,
                                                 const GraphTrainer::Options& options) {
  return std::make_unique<Trainer>(model, optimizer, data, options);
}

}  // namespace mixgrad::cuda
