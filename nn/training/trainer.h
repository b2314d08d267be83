// Trainer: runs the steps of a schedule on batches of a text or a task, on whatever device the model lies.
//
//   const auto trainer = make_trainer(model, *optimizer, data, {.batch = 12, .schedule = schedule});
//   trainer->start(0, Rng(1));
//   for (int i = 0; i < 10; ++i) trainer->queue();
//   const Trainer::Result result = trainer->wait();      // loss and norm of the tenth step
//
// There are two: one that the host drives (host_trainer.h) and one that replays a whole step as a CUDA graph
// (graph_trainer.h). Given the same batches, one device gives the same bits with either. A step with an objective of
// its own is driven by the host on every device.
//
// A loss or gradient norm that is not finite halts a trainer: from that step on nothing is written, whatever is still
// queued. wait() tells; start() continues, with the same step or the one after it.
#pragma once

#include <cstdint>
#include <memory>

#include "autograd/recompute.h"
#include "core/rng.h"
#include "nn/data/batch_stream.h"
#include "nn/distributed/communicator.h"
#include "nn/model/decoder.h"
#include "nn/training/objective.h"
#include "nn/training/optimizers/optimizer.h"
#include "nn/training/schedule.h"

namespace mixgrad {

class Trainer {
 public:
  // The last three concern a CUDA device alone. The first two of them do not change the bits, only time and memory.
  enum class TextMemory : std::uint8_t { automatic, device, host };     // automatic: on the device where it fits
  enum class Launch : std::uint8_t { captured, kernel_by_kernel };      // one graph a step, or its kernels one by one
  enum class ProductAlgorithms : std::uint8_t { from_library, timed };  // timed in the first step (matmul/choices.h)
  struct Options {
    std::int64_t batch = 1, accumulate = 1;  // sequences of the model's context, micro-batches of a step
    Schedule schedule;
    DropoutMask dropout = {};              // DropoutMask::of(rate, seed): the trainer fills in step and micro-batch
    const Objective* objective = nullptr;  // null: the model's loss; any other runs on the host's trainer
    TextMemory text = TextMemory::automatic;
    Launch launch = Launch::captured;
    ProductAlgorithms products = ProductAlgorithms::from_library;
    // Of a job of several processes, kept by reference: `batch` is that of all of them together. Null: one process.
    Communicator* ranks = nullptr;
    ReduceOptions reduce = {};
    Intermediates intermediates = Intermediates::kept;  // of layers (autograd/recompute.h): the same bits
  };
  struct Result {
    double loss = 0, gradient_norm = 0;  // of the last step that ran: before it, and before clipping
    double learning_rate = 0;            // of that step
    std::int64_t step = 0;               // of the schedule: where the next one is
    std::uint64_t rng_counter = 0;       // what the next one draws its batch with
    bool halted = false;                 // by loss or norm of the step that would have been next
    // On CUDA devices of a job: how long the last step waited for sums of gradients, its backward pass being done.
    double waited_ms = 0;
  };

  virtual ~Trainer() = default;
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  // The next step is `step` of the schedule and draws its batch with `rng`, as BatchStream::sample_batch does. Weights
  // and the optimizer's state are taken as they are. To be called first, and after a halt.
  virtual void start(std::int64_t step, const Rng& rng) = 0;
  // Queues one step. It may return before the step has run.
  virtual void queue() = 0;
  // Waits for all that is queued; afterwards the optimizer's count of steps is right.
  virtual Result wait() = 0;
  // How many steps may be under way at once: 1 when queue() returns only after the step has run.
  virtual std::int64_t steps_under_way() const = 0;

 protected:
  Trainer() = default;
};

// The trainer for the model's device. All four are kept by reference; `optimizer` belongs to the model. ValueError for
// fewer sequences than ranks, and for ReduceOrder::rank on a CUDA device; on those all ranks call it together.
std::unique_ptr<Trainer> make_trainer(Decoder& model, Optimizer& optimizer, const BatchStream& data,
                                      const Trainer::Options& options);

}  // namespace mixgrad
