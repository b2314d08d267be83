// Private to nn/training/graph_trainer.cu: how a captured step comes by its batch. Either the text lies on the device
// and kernels draw from it, or the host draws and the batch is copied while the step before it runs.
#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include "core/cuda/launch.cuh"
#include "core/numeric/philox.h"
#include "core/rng.h"
#include "nn/data/shuffle.h"
#include "nn/data/target_shares.h"
#include "nn/data/token_data.h"
#include "nn/training/optimizers/optimizer_kernels.h"

namespace mixgrad::cuda {

// The progress of the trainer, in device memory.
struct DeviceProgress {
  std::uint64_t seed;
  std::uint64_t counter;       // of the next step
  std::uint64_t next_counter;  // after what the current step has drawn so far
  std::int64_t step;
  std::int64_t begun;  // steps begun since start(), including those that a halt left without effect
  double loss;         // of the current step so far
  double divisor;      // of the current micro-batch's loss and gradients (nn/data/target_shares.h)
};
inline constexpr std::int64_t kDeviceProgressNumbers = sizeof(DeviceProgress) / sizeof(double);

// What the small kernels of a step read and write, in device memory.
struct StepMemory {
  Device device;
  DeviceProgress* trainer;
  StepProgress* optimizer;
};

// The rows [begin, end) that this rank runs, of all rows of a micro-batch. One process runs all of them.
struct OwnRows {
  std::int64_t begin = 0, end = 0, all = 0;
  std::int64_t ranks = 1;  // processes that divide the rows
  std::int64_t count() const { return end - begin; }
};

class BatchSource {
 public:
  virtual ~BatchSource() = default;
  // The next step is the first, and draws with `rng`. Nothing is queued.
  virtual void start(const Rng& /*rng*/) {}
  // The host's part of the step with this number since start(), before its kernels. `copied_out` marks the end of the
  // step two before it, if there is one.
  virtual void prepare(std::int64_t /*number*/, const Event* /*copied_out*/) {}
  // Queues kernels that fill tokens and targets [own rows,T] with this rank's rows of micro-batch `part`, advance
  // next_counter by the draws of all rows, and set the divisor where it is not the one that begin_step has set.
  virtual void fill(const StepMemory& memory, std::int64_t part, const Tensor& tokens, const Tensor& targets) = 0;
};

class ResidentText final : public BatchSource {
 public:
  ResidentText(const TokenData& data, const OwnRows& rows, Device device)
      : text_(upload(data, device)),
        starts_(Tensor::zeros({rows.all}, DType::f64, device)),
        rows_(rows),
        sampling_(data.sampling()) {}

  void fill(const StepMemory& memory, std::int64_t, const Tensor& tokens, const Tensor& targets) override {
    if (sampling_ == Sampling::random) {
      draw_starts(memory, rows_.all, static_cast<std::uint64_t>(text_.numel() - tokens.dim(1)));
    } else {
      shuffle_starts(memory, rows_.all, WindowGrid::of(text_.numel(), tokens.dim(1)));
    }
    gather(tokens, targets);
  }

  // The same draws as TokenData::sample_batch: row b draws with counter + b. A draw that would be biased (a chance of
  // 2^-40 and less) is repeated with the next counter, which moves all that follow: then one thread draws all in order.
  // (Public because nvcc takes no lambda of a kernel in a private member.)
  void draw_starts(const StepMemory& memory, std::int64_t batch, std::uint64_t bound) const {
    DeviceProgress* now = memory.trainer;
    auto* starts = static_cast<std::int64_t*>(starts_.raw());
    const std::uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
    for_each_row("draw batch", memory.device, 1, [=] __device__(std::int64_t) {
      const std::uint64_t first = now->next_counter;
      int biased = 0;
      for (std::int64_t b = threadIdx.x; b < batch; b += kRowThreads) {
        const std::uint64_t value = random_bits(now->seed, first + static_cast<std::uint64_t>(b)).first64();
        biased = value < limit ? biased : 1;
        starts[b] = static_cast<std::int64_t>(value % bound);
      }
      biased = block_max(biased);
      if (threadIdx.x != 0) return;
      std::uint64_t counter = first + static_cast<std::uint64_t>(batch);
      if (biased != 0) {
        counter = first;
        for (std::int64_t b = 0; b < batch; ++b) {
          std::uint64_t value = random_bits(now->seed, counter++).first64();
          while (value >= limit) {
            value = random_bits(now->seed, counter++).first64();
          }
          starts[b] = static_cast<std::int64_t>(value % bound);
        }
      }
      now->next_counter = counter;
    });
  }

  // The windows of the next positions, as TokenData::sample_batch takes them.
  void shuffle_starts(const StepMemory& memory, std::int64_t batch, WindowGrid grid) const {
    DeviceProgress* now = memory.trainer;
    auto* starts = static_cast<std::int64_t*>(starts_.raw());
    for_each_row("shuffle batch", memory.device, 1, [=] __device__(std::int64_t) {
      const std::uint64_t first = now->next_counter - kFirstDraw;
      for (std::int64_t b = threadIdx.x; b < batch; b += kRowThreads) {
        starts[b] = shuffled_window(grid, now->seed, first + static_cast<std::uint64_t>(b));
      }
      __syncthreads();  // all have read the counter
      if (threadIdx.x == 0) now->next_counter += static_cast<std::uint64_t>(batch);
    });
  }

  void gather(const Tensor& tokens, const Tensor& targets) const {
    const std::int64_t context = tokens.dim(1);
    const std::int32_t* from = text_.data<std::int32_t>();
    const auto* starts = static_cast<const std::int64_t*>(starts_.raw()) + rows_.begin;
    std::int32_t* inputs = tokens.data<std::int32_t>();
    std::int32_t* outputs = targets.data<std::int32_t>();
    for_each("gather batch", tokens.device(), tokens.numel(), [=] __device__(std::int64_t i) {
      const std::int64_t at = starts[i / context] + i % context;
      inputs[i] = from[at];
      outputs[i] = from[at + 1];
    });
  }

 private:
  static Tensor upload(const TokenData& data, Device device) {
    const Tensor host = Tensor::empty({data.train().size()}, DType::i32);
    data.gather(0, data.train().size(), host.data<std::int32_t>());
    return host.to(device);
  }

  Tensor text_;    // [training tokens] i32
  Tensor starts_;  // [all rows] i64 in the memory of f64
  OwnRows rows_;
  Sampling sampling_;
};

// Batches that the host draws: of a text that does not fit on the device, or of a task.
// Each half of the double buffer holds the random counter after the step's draws, the divisor of each micro-batch
// (f64), then tokens and targets of each, this rank's rows alone.
class StreamedBatches final : public BatchSource {
 public:
  StreamedBatches(const BatchStream& data, std::int64_t parts, const OwnRows& rows, std::int64_t context, Device device)
      : data_(data),
        parts_(parts),
        rows_(rows),
        tokens_(Tensor::empty({rows.all, context}, DType::i32)),
        targets_(Tensor::empty({rows.all, context}, DType::i32)),
        counts_(static_cast<std::size_t>(parts)),
        buffer_(bytes(), device) {}

  void start(const Rng& rng) override { rng_ = rng; }

  void prepare(std::int64_t number, const Event* copied_out) override {
    auto* to = static_cast<std::byte*>(buffer_.host(number));
    std::byte* at = to + header_bytes();
    std::int64_t all = 0;
    for (std::int64_t part = 0; part < parts_; ++part) {
      data_.sample_batch(rng_, tokens_, targets_);
      counts_[static_cast<std::size_t>(part)] = count_targets(own(targets_));
      all += count_targets(targets_);
      for (const Tensor* one : {&tokens_, &targets_}) {
        const Tensor rows = own(*one);
        std::memcpy(at, rows.raw(), rows.bytes());
        at += rows.bytes();
      }
    }
    auto* divisors = reinterpret_cast<double*>(to + sizeof(std::uint64_t));
    for (const std::int64_t count : counts_) *divisors++ = target_divisor(count, all, parts_ * rows_.ranks);
    const std::uint64_t counter = rng_.counter();
    std::memcpy(to, &counter, sizeof counter);
    buffer_.send(number, copied_out);
  }

  void fill(const StepMemory& memory, std::int64_t part, const Tensor& tokens, const Tensor& targets) override {
    DeviceProgress* now = memory.trainer;
    const std::int64_t count = tokens.numel();
    const std::int64_t parts = parts_;
    const void* even = buffer_.device(0);
    const void* odd = buffer_.device(1);
    std::int32_t* inputs = tokens.data<std::int32_t>();
    std::int32_t* outputs = targets.data<std::int32_t>();
    for_each("copy batch", memory.device, count, [=] __device__(std::int64_t i) {
      const void* half = now->begun % 2 == 0 ? even : odd;
      const auto* header = static_cast<const std::uint64_t*>(half);
      const auto* from = reinterpret_cast<const std::int32_t*>(header + 1 + parts) + 2 * part * count;
      inputs[i] = from[i];
      outputs[i] = from[count + i];
      if (i != 0) return;
      now->next_counter = *header;
      now->divisor = reinterpret_cast<const double*>(header + 1)[part];
    });
  }

 private:
  std::size_t header_bytes() const { return sizeof(std::uint64_t) * static_cast<std::size_t>(1 + parts_); }
  std::size_t bytes() const {
    return header_bytes() + static_cast<std::size_t>(parts_) * (own(tokens_).bytes() + own(targets_).bytes());
  }
  Tensor own(const Tensor& rows) const { return rows.slice(rows_.begin, rows_.end); }

  const BatchStream& data_;
  std::int64_t parts_;
  OwnRows rows_;
  Tensor tokens_, targets_;           // [all rows,T], of the host
  std::vector<std::int64_t> counts_;  // [parts]: targets of each micro-batch
  DoubleBuffer buffer_;
  Rng rng_{0};
};

}  // namespace mixgrad::cuda
