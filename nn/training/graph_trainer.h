// Training on a CUDA device with the whole step in one graph: the batch, forward, backward, clip, AdamW. Learning rate,
// step and random counter live in device memory, and so does the training text where it fits: then a step is one call
// of the host and copies nothing. Of a longer text the host draws each batch while the step before it runs. The bits
// are the same either way, those of the same kernels called one by one (nn/training/training.h, given the same
// batches).
//
// A loss or gradient norm that is not finite halts it: from that step on nothing is written, whatever is still queued.
// The host learns of it by wait(), and may run that step again by itself to see why (nn/training/finite.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/rng.h"
#include "nn/data/token_data.h"
#include "nn/model/decoder.h"
#include "nn/training/optimizers/adamw.h"
#include "nn/training/schedule.h"

namespace mixgrad {

class GraphTrainer {
 public:
  struct Options {
    std::int64_t batch = 1, accumulate = 1;  // sequences of the model's context, micro-batches of a step
    Schedule schedule;
    bool resident = true;        // false: the text stays with the host
    bool capture = true;         // false: the same kernels, called one by one
    bool time_products = false;  // choose algorithms by timing in the first step (ops/matmul/choices.h)
  };
  struct Result {
    double loss = 0, gradient_norm = 0;  // of the last step: before it, and before clipping
    double learning_rate = 0;
    std::int64_t step = 0;          // of the schedule: where the next one is
    std::uint64_t rng_counter = 0;  // what the next one draws its batch with
    bool halted = false;            // by loss or norm of the step that would have been next
  };

  virtual ~GraphTrainer() = default;

  // The next step is `step` of the schedule and draws its batch with `rng`, as TokenData::sample_batch does. Weights,
  // moments and the optimizer's count are taken as they are. To be called first, and after a halt.
  virtual void start(std::int64_t step, const Rng& rng) = 0;
  // Queues one step; returns before it has run, but waits while four are under way. The first is called kernel by
  // kernel, then the graph is captured.
  virtual void queue() = 0;
  // Waits for what is queued; afterwards the optimizer's count is right.
  virtual Result wait() = 0;
  virtual std::size_t graph_nodes() const = 0;  // 0 before the capture
};

namespace cuda {
// Does the training part of the text fit into an eighth of the device's memory? Then let it be resident.
bool fits(const TokenData& data, Device device);
// The model lies on a CUDA device; `data` and `optimizer` belong to it. All are kept by reference.
std::unique_ptr<GraphTrainer> make_graph_trainer(Decoder& model, AdamW& optimizer, const TokenData& data,
                                                 const GraphTrainer::Options& options);
}  // namespace cuda

}  // namespace mixgrad
