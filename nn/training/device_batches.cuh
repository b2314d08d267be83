// Private to nn/training/graph_trainer.cu: how a captured step comes by its batch. Either the text lies on the device
// and kernels draw from it, or the host draws and the batch is copied beside the step before it.
#pragma once

#include <Random123/philox.h>

#include <cstring>
#include <memory>

#include "core/cuda/launch.cuh"
#include "core/rng.h"
#include "nn/data/token_data.h"
#include "nn/training/optimizers/adamw.h"

namespace mixgrad::cuda {

// Where training stands, in device memory.
struct Walk {
  std::uint64_t seed;
  std::uint64_t counter;       // of the step that is next
  std::uint64_t next_counter;  // after what the step has drawn so far
  std::int64_t step;
  std::int64_t turn;  // steps begun since the start, those that a halt left without effect among them
  double loss;        // of the step so far
};
inline constexpr std::int64_t kWalkNumbers = sizeof(Walk) / sizeof(double);

// What the small kernels of a step work on, in device memory.
struct Place {
  Device device;
  Walk* walk;
  AdamWDeviceState* state;
};

class Batches {
 public:
  virtual ~Batches() = default;
  // The next step is the first, and draws with `rng`. Nothing is queued.
  virtual void start(const Rng& /*rng*/) {}
  // The host's part of step `turn`, before its kernels; `used` marks the end of step turn - 2, if there is one.
  virtual void prepare(std::int64_t /*turn*/, const Event* /*used*/) {}
  // Queues kernels that fill tokens and targets [B,T] with micro-batch `part` and move walk->next_counter on.
  virtual void take(const Place& place, std::int64_t part, const Tensor& tokens, const Tensor& targets) = 0;
};

// The first 64 bits of Rng::next().
inline __device__ std::uint64_t draw(std::uint64_t seed, std::uint64_t counter) {
  r123::Philox4x32 philox;
  const r123::Philox4x32::ctr_type at = {
      {static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32U), 0, 0}};
  const r123::Philox4x32::key_type key = {{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32U)}};
  const auto bits = philox(at, key);
  return static_cast<std::uint64_t>(bits[0]) << 32U | bits[1];
}

class ResidentText final : public Batches {
 public:
  ResidentText(const TokenData& data, std::int64_t batch, Device device)
      : text_(upload(data, device)), starts_(Tensor::zeros({batch}, DType::f64, device)) {}

  void take(const Place& place, std::int64_t, const Tensor& tokens, const Tensor& targets) override {
    draw_starts(place, tokens.dim(0), static_cast<std::uint64_t>(text_.numel() - tokens.dim(1)));
    gather(tokens, targets);
  }

  // As TokenData::sample_batch: row b draws with the counter that is b further on. A draw that would be biased (a
  // chance of 2^-40 and less) is repeated with the next counter, which moves all that follow: then one thread does it
  // in order. (Public: nvcc takes no lambda of a kernel in a private member.)
  void draw_starts(const Place& place, std::int64_t batch, std::uint64_t bound) const {
    Walk* walk = place.walk;
    auto* starts = static_cast<std::int64_t*>(starts_.raw());
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

  void gather(const Tensor& tokens, const Tensor& targets) const {
    const std::int64_t context = tokens.dim(1);
    const std::int32_t* from = text_.data<std::int32_t>();
    const auto* starts = static_cast<const std::int64_t*>(starts_.raw());
    std::int32_t* inputs = tokens.data<std::int32_t>();
    std::int32_t* wanted = targets.data<std::int32_t>();
    for_each("gather batch", tokens.device(), tokens.numel(), [=] __device__(std::int64_t i) {
      const std::int64_t at = starts[i / context] + i % context;
      inputs[i] = from[at];
      wanted[i] = from[at + 1];
    });
  }

 private:
  static Tensor upload(const TokenData& data, Device device) {
    const Tensor host = Tensor::empty({data.train().size()}, DType::i32);
    data.gather(0, data.train().size(), host.data<std::int32_t>());
    return host.to(device);
  }

  Tensor text_;    // [training tokens] i32
  Tensor starts_;  // [B] i64 in the memory of f64
};

// One half of the buffer: the random counter after the step's draws (two i32), then tokens and targets of each
// micro-batch.
class StreamedText final : public Batches {
 public:
  StreamedText(const TokenData& data, std::int64_t parts, std::int64_t batch, std::int64_t context, Device device)
      : data_(data),
        parts_(parts),
        tokens_(Tensor::empty({batch, context}, DType::i32)),
        targets_(Tensor::empty({batch, context}, DType::i32)),
        buffer_(bytes(), device) {}

  void start(const Rng& rng) override { rng_ = rng; }

  void prepare(std::int64_t turn, const Event* used) override {
    auto* to = static_cast<std::byte*>(buffer_.host(turn));
    std::byte* at = to + sizeof(std::uint64_t);
    for (std::int64_t part = 0; part < parts_; ++part) {
      data_.sample_batch(rng_, tokens_, targets_);
      for (const Tensor* one : {&tokens_, &targets_}) {
        std::memcpy(at, one->raw(), one->bytes());
        at += one->bytes();
      }
    }
    const std::uint64_t counter = rng_.counter();
    std::memcpy(to, &counter, sizeof counter);
    buffer_.send(turn, used);
  }

  void take(const Place& place, std::int64_t part, const Tensor& tokens, const Tensor& targets) override {
    Walk* walk = place.walk;
    const std::int64_t count = tokens.numel();
    const void* even = buffer_.device(0);
    const void* odd = buffer_.device(1);
    std::int32_t* inputs = tokens.data<std::int32_t>();
    std::int32_t* wanted = targets.data<std::int32_t>();
    for_each("take batch", place.device, count, [=] __device__(std::int64_t i) {
      const void* half = walk->turn % 2 == 0 ? even : odd;
      const auto* from =
          reinterpret_cast<const std::int32_t*>(static_cast<const std::uint64_t*>(half) + 1) + 2 * part * count;
      inputs[i] = from[i];
      wanted[i] = from[count + i];
      if (i == 0) walk->next_counter = *static_cast<const std::uint64_t*>(half);
    });
  }

 private:
  std::size_t bytes() const {
    return sizeof(std::uint64_t) + static_cast<std::size_t>(parts_) * (tokens_.bytes() + targets_.bytes());
  }

  const TokenData& data_;
  std::int64_t parts_;
  Tensor tokens_, targets_;  // [B,T], of the host
  DoubleBuffer buffer_;
  Rng rng_{0};
};

}  // namespace mixgrad::cuda
