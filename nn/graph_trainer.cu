#include "nn/graph_trainer.h"

#include <Random123/philox.h>

#include <cstring>
#include <vector>

#include "core/allocator.h"
#include "core/cuda_launch.cuh"

namespace mixgrad::cuda {
namespace {

constexpr int kAhead = 4;  // steps that may be queued

// Where training stands, in device memory.
struct Walk {
  std::uint64_t seed;
  std::uint64_t counter;       // of the step that is next
  std::uint64_t next_counter;  // after what the step has drawn so far
  std::int64_t step;
  double loss;  // of the step so far
};
constexpr std::int64_t kWalkNumbers = sizeof(Walk) / sizeof(double);

template <class T>
Tensor on_device(const T& value, Device device) {
  const Tensor host = Tensor::empty({static_cast<std::int64_t>(sizeof(T) / sizeof(double))}, DType::f64);
  std::memcpy(host.raw(), &value, sizeof value);
  return host.to(device);
}

// The first 64 bits of Rng::next().
__device__ std::uint64_t draw(std::uint64_t seed, std::uint64_t counter) {
  r123::Philox4x32 philox;
  const r123::Philox4x32::ctr_type at = {
      {static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32U), 0, 0}};
  const r123::Philox4x32::key_type key = {{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32U)}};
  const auto bits = philox(at, key);
  return static_cast<std::uint64_t>(bits[0]) << 32U | bits[1];
}

// The small kernels of a step. Their pointers are into device memory.
struct Place {
  Device device;
  Walk* walk;
  AdamWDeviceState* state;
};

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

// As TokenData::sample_batch: row b draws with the counter that is b further on. A draw that would be biased (a chance
// of 2^-40 and less) is repeated with the next counter, which moves all that follow: then one thread does it in order.
void draw_starts(const Place& place, std::int64_t batch, std::uint64_t bound, std::int64_t* starts) {
  Walk* walk = place.walk;
  const std::uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
  for_each_row("draw batch", place.device, 1, [=] __device__(std::int64_t) {
    const std::uint64_t first = walk->next_counter;
    int biased = 0;
    for (std::int64_t b = threadIdx.x; b < batch; b += kRowThreads) {
      const std::uint64_t value = draw(walk->seed, first + static_cast<std::uint64_t>(b));
      biased = value < limit ? biased : 1;
      starts[b] = static_cast<std::int64_t>(value % bound);
    }
    biased = block_max(biased);
    if (threadIdx.x != 0) return;
    std::uint64_t counter = first + static_cast<std::uint64_t>(batch);
    if (biased != 0) {
      counter = first;
      for (std::int64_t b = 0; b < batch; ++b) {
        std::uint64_t value = 0;
        do value = draw(walk->seed, counter++);
        while (value >= limit);
        starts[b] = static_cast<std::int64_t>(value % bound);
      }
    }
    walk->next_counter = counter;
  });
}

void gather(const Tensor& text, const std::int64_t* starts, const Tensor& tokens, const Tensor& targets) {
  const std::int64_t context = tokens.dim(1);
  const std::int32_t* from = text.data<std::int32_t>();
  std::int32_t* inputs = tokens.data<std::int32_t>();
  std::int32_t* wanted = targets.data<std::int32_t>();
  for_each("gather batch", tokens.device(), tokens.numel(), [=] __device__(std::int64_t i) {
    const std::int64_t at = starts[i / context] + i % context;
    inputs[i] = from[at];
    wanted[i] = from[at + 1];
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
        text_(upload(data)),
        rates_(upload(options.schedule)),
        tokens_(Tensor::zeros({options.batch, model.config().context}, DType::i32, device_)),
        targets_(Tensor::zeros({options.batch, model.config().context}, DType::i32, device_)),
        starts_(Tensor::zeros({options.batch}, DType::f64, device_)),
        walk_(Tensor::zeros({kWalkNumbers}, DType::f64, device_)),
        pool_(device_) {
    data.check_context(model.config().context);
    for (int i = 0; i < kAhead; ++i) under_way_.push_back(std::make_unique<Event>(device_));
  }

  void start(std::int64_t step, const Rng& rng) override {
    const Walk walk{rng.seed(), rng.counter(), rng.counter(), step, 0};
    walk_.copy_from(on_device(walk, device_));
    AdamWDeviceState state{};
    state.steps = optimizer_.steps();
    optimizer_.write_state(state);
  }

  void queue() override {
    Event& earlier = *under_way_[static_cast<std::size_t>(queued_ % kAhead)];
    if (queued_ >= kAhead) earlier.wait();
    if (graph_.ready()) {
      graph_.launch();
    } else if (queued_ == 0 || !options_.capture) {
      step();  // also uploads constant tables, makes handles, loads kernels
    } else {
      capture();
      graph_.launch();
    }
    earlier.record();
    ++queued_;
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
  Tensor upload(const TokenData& data) const {
    const Tensor host = Tensor::empty({data.train().size()}, DType::i32);
    data.gather(0, data.train().size(), host.data<std::int32_t>());
    return host.to(device_);
  }
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
    const auto bound = static_cast<std::uint64_t>(text_.numel() - tokens_.dim(1));
    auto* starts = static_cast<std::int64_t*>(starts_.raw());
    begin(place, rates_);
    for (std::int64_t part = 0; part < options_.accumulate; ++part) {
      draw_starts(place, options_.batch, bound, starts);
      gather(text_, starts, tokens_, targets_);
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
  Tensor text_, rates_;      // [training tokens] i32, [steps] f64
  Tensor tokens_, targets_;  // [B,T] i32
  Tensor starts_;            // [B] i64 in the memory of f64
  Tensor walk_;              // holds a Walk
  PrivatePool pool_;         // of the graph: outlives it
  Graph graph_;
  std::vector<std::unique_ptr<Event>> under_way_;
  std::int64_t queued_ = 0;
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
