// The trainer for a CUDA device with the whole step in one graph: the batch, forward, backward, clipping, optimizer.
// Learning rate, step and random counter live in device memory, and so does the training text where it fits: then a
// step is one call of the host and copies nothing. Of a longer text the host draws each batch while the step before it
// runs. The bits are the same either way, those of the same kernels called one by one.
//
// The first step is called kernel by kernel, the second is captured. queue() waits while four steps are under way.
#pragma once

#include <cstddef>
#include <memory>

#include "nn/training/trainer.h"

namespace mixgrad {

class GraphTrainer : public Trainer {
 public:
  virtual std::size_t graph_nodes() const = 0;  // 0 before the capture
};

namespace cuda {
// The model lies on a CUDA device.
std::unique_ptr<GraphTrainer> make_graph_trainer(Decoder& model, Optimizer& optimizer, const BatchStream& data,
                                                 const Trainer::Options& options);
}  // namespace cuda

}  // namespace mixgrad
