// What a training run will take of memory, before it starts.
//
// Steps of smaller batches are run for a trace of what they ask the pool for (core/allocator.h). All sizes are straight
// lines in the batch, or have reached their limit, so those of the real batch follow; replaying them by the pool's own
// rules gives its peak. No operator and no mixer has to know of it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/tensor.h"
#include "nn/config/model_config.h"

namespace mixgrad {

struct MemoryPlan {
  std::size_t parameters = 0, gradients = 0, optimizer = 0;  // bytes, as for all that follows
  std::size_t activations = 0;    // what the largest moment of a step or an evaluation takes beyond the three
  std::size_t peak = 0;           // the sum: the most that tensors hold at once
  std::size_t reserved = 0;       // what the pool takes from the system for that, its cache included
  std::int64_t traced_batch = 0;  // the largest batch that was run to know it
};

// For steps of `batch` sequences of the model's context, and evaluations (nn/training/evaluation.h). Takes the memory
// and the time, on the device, of about a step and a half; less, and is less exact, where that would not fit into half
// of the free memory. OutOfMemory when not even a batch of one fits.
MemoryPlan plan_training(const ModelConfig& config, Placement place, std::int64_t batch);

}  // namespace mixgrad
