#include "nn/model/step_graph.h"

#include <algorithm>
#include <limits>

#include "core/allocator.h"
#include "core/cuda/launch.cuh"
#include "ops/embedding/embedding.h"
#include "ops/rope/rope.h"

namespace mixgrad::cuda {
namespace {

// Tokens that one launch brings along as its arguments: no copy, no waiting for the device.
constexpr std::int64_t kTokensOfLaunch = 64;
struct SomeTokens {
  std::int32_t ids[kTokensOfLaunch];
};

void upload(std::int64_t position, const Tensor& tokens, std::int64_t* to_position, const Tensor& to) {
  const std::int32_t* from = tokens.data<std::int32_t>();
  for (std::int64_t first = 0; first < tokens.numel(); first += kTokensOfLaunch) {
    const std::int64_t count = std::min(kTokensOfLaunch, tokens.numel() - first);
    SomeTokens some{};
    std::copy_n(from + first, count, some.ids);
    std::int32_t* place = to.data<std::int32_t>() + first;
    for_each("decoding step", to.device(), count, [=] __device__(std::int64_t i) {
      place[i] = some.ids[i];
      if (i == 0) *to_position = position;
    });
  }
}

void copy_tokens(std::int64_t position, const std::int32_t* from, std::int64_t* to_position, const Tensor& to) {
  std::int32_t* ids = to.data<std::int32_t>();
  for_each("decoding step", to.device(), to.numel(), [=] __device__(std::int64_t i) {
    ids[i] = from[i];
    if (i == 0) *to_position = position;
  });
}

// While it lives, the kernels of the state's steps read their position in the device's memory.
class PositionOnDevice {
 public:
  PositionOnDevice(DecoderState& state, const std::int64_t* position) : state_(state) {
    state_.read_position_at(position);
  }
  ~PositionOnDevice() { state_.read_position_at(nullptr); }
  PositionOnDevice(const PositionOnDevice&) = delete;
  PositionOnDevice& operator=(const PositionOnDevice&) = delete;

 private:
  DecoderState& state_;
};

class Steps final : public StepGraph {
 public:
  Steps(const Decoder& model, DecoderState& state)
      : model_(model),
        state_(state),
        device_(model.device()),
        tokens_(Tensor::zeros({state.batch, 1}, DType::i32, device_)),
        position_(Tensor::zeros({1}, DType::f64, device_)),
        pool_(device_) {}

  Tensor step(const Tensor& tokens) override {
    model_.check_prefill(tokens, state_);
    const std::int64_t position = state_.position();
    if (position >= known_before_) {
      Tensor logits = model_.step(tokens, state_);
      known_before_ = holds_before(position);
      return logits;
    }
    const Tensor host = tokens.is_contiguous() ? tokens.to(kCpu) : tokens.clone().to(kCpu);
    check_tokens(host, model_.config().vocab_size);
    capture_for(position);
    upload(position, host, position_on_device(), tokens_);
    return replay();
  }

  Tensor step_of(const std::int32_t* tokens) override {
    model_.check_prefill(tokens_, state_);
    const std::int64_t position = state_.position();
    if (position < known_before_) capture_for(position);
    copy_tokens(position, tokens, position_on_device(), tokens_);
    if (position < known_before_) return replay();
    Tensor logits = model_.step(tokens_, state_);
    known_before_ = holds_before(position);
    return logits;
  }

  std::size_t nodes() const override { return graph_.nodes(); }
  std::int64_t captures() const override { return captures_; }

 private:
  std::int64_t* position_on_device() const { return static_cast<std::int64_t*>(position_.raw()); }

  // A step at `position`, run or captured, has all that it takes up to here (not included).
  std::int64_t holds_before(std::int64_t position) const {
    return model_.config().positions == Positions::rope ? rope_table_rows(position + 1)
                                                        : std::numeric_limits<std::int64_t>::max();
  }

  void capture_for(std::int64_t position) {
    if (position < captured_before_) return;
    capture();
    captured_before_ = holds_before(position);
  }

  Tensor replay() {
    graph_.launch();
    state_.advance(1);
    return logits_;
  }

  void capture() {
    logits_ = Tensor();
    const PrivatePool::Scope scope(pool_);
    const PositionOnDevice in_force(state_, position_on_device());
    Graph::Capture recording(graph_, device_);
    logits_ = model_.step(tokens_, state_);
    recording.finish();
    state_.advance(-1);  // the step was counted, but has not run
    ++captures_;
  }

  const Decoder& model_;
  DecoderState& state_;
  Device device_;
  Tensor tokens_;     // [B,1] i32
  Tensor position_;   // of the token, an i64 in the memory of an f64
  PrivatePool pool_;  // of the graph: outlives it
  Graph graph_;
  Tensor logits_;                     // [B,1,V], what the graph writes
  std::int64_t known_before_ = 0;     // positions below this need no table and no kernel that is not there
  std::int64_t captured_before_ = 0;  // and below this one the graph serves
  std::int64_t captures_ = 0;
};

}  // namespace

std::unique_ptr<StepGraph> make_step_graph(const Decoder& model, DecoderState& state) {
  return std::make_unique<Steps>(model, state);
}

}  // namespace mixgrad::cuda
