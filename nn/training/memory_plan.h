// The memory that a training run will take, before it starts.
//
// Steps of smaller batches run while a trace records what they request from the pool (core/allocator.h). Every size is
// linear in the batch, or has reached its limit, so the sizes of the real batch follow; replaying them by the pool's
// own rules gives its peak. Operators and mixers need not know of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "autograd/recompute.h"
#include "core/numeric/dropout_mask.h"
#include "core/tensor.h"
#include "nn/config/model_config.h"
#include "nn/distributed/communicator.h"
#include "nn/training/objective.h"
#include "nn/training/optimizers/registry.h"

namespace mixgrad {

struct MemoryPlan {
  std::size_t parameters = 0, gradients = 0, optimizer = 0;  // bytes, as for all that follows
  std::size_t checkpoint = 0;                                // the files: masters and the whole state of the optimizer
  std::size_t objective = 0;                                 // what an objective keeps, such as a teacher
  std::size_t activations = 0;    // beyond these, at the largest moment of a step or an evaluation
  std::size_t peak = 0;           // the sum: the most that tensors hold at once
  std::size_t reserved = 0;       // that the pool then takes from the system, with its cache
  std::int64_t traced_batch = 0;  // the largest batch that was run for the plan
};

// What the plan needs to know of a job of several processes.
struct PlannedRanks {
  ReduceOrder order = ReduceOrder::any;  // rank: a step has a second buffer of gradients, in one process, too
  int shares = 1;  // processes that divide the optimizer's state and bf16 masters; the plan is that of rank 0
  std::int64_t sent_in_bf16 = 0;  // at most so many numbers at once are copied to bf16, which a CUDA device sends
};

// For steps of `batch` sequences of the model's context, with this dropout, and evaluations
// (nn/evaluation/evaluation.h). Takes the memory and the time, on the device, of about a step and a half; less, and is
// less exact, where that would not fit into half of the free memory. OutOfMemory when not even a batch of one fits.
// `objective`, where there is one, is made for the model and minimised in place of its loss. ValueError for a state
// that cannot be divided.
using ObjectiveMaker = std::function<std::unique_ptr<Objective>(Decoder& model)>;
MemoryPlan plan_training(const ModelConfig& config, Placement placement, const OptimizerSettings& optimizer,
                         std::int64_t batch, const DropoutMask& dropout = {}, const ObjectiveMaker& objective = {},
                         Intermediates intermediates = Intermediates::kept, const PlannedRanks& ranks = {});

}  // namespace mixgrad
