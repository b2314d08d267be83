// The two passes of AdamW (nn/training/optimizers/adamw.h) over flat buffers, for both devices.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace mixgrad {

// At most kAdamWBlock elements of one parameter: the unit of work, and of the ordered sum of the norm.
struct AdamWBlock {
  std::int64_t begin, end;  // in the flat buffers
  bool trainable;           // false: its gradient does not count, and nothing of it is written
  bool decay;
};
inline constexpr std::int64_t kAdamWBlock = 16384;

// What stays the same over a run.
struct AdamWConstants {
  double beta1, beta2, eps, weight_decay, clip;
};

struct AdamWStep {
  double scale;  // of the gradient
  double beta1, beta2;
  double rate;      // learning rate / (1 - beta1^t)
  double inverse2;  // 1 / (1 - beta2^t)
  double eps;
  double keep;  // 1 - learning rate * weight decay, where a block decays
};

// The flat buffers that a step changes, of one layout.
struct AdamWBuffers {
  Tensor master, first, second;  // parameters and moments, f64 or f32
  Tensor copy;  // the masters in bf16, written in the same pass; undefined where they are used as they are
};

// What a CUDA device keeps of the optimizer, so that a step needs nothing from the host: one per AdamW, in its memory.
struct AdamWDeviceState {
  double learning_rate;  // of the next step
  std::int64_t steps;    // those that changed the weights
  std::int64_t halted;   // 1: a loss or norm was not finite. Nothing is written while it stands.
  double norm;           // of the last gradients
  double loss;           // what the next step takes for its loss: not finite halts it
  AdamWStep step;        // the scalars of the step that is on its way
};
static_assert(sizeof(AdamWDeviceState) % sizeof(double) == 0);

namespace cpu {
double adamw_norm(const Tensor& gradient, const std::vector<AdamWBlock>& blocks, std::vector<double>& sums);
void adamw_update(const Tensor& gradient, const std::vector<AdamWBlock>& blocks, const AdamWStep& step,
                  const AdamWBuffers& buffers);
}  // namespace cpu

namespace cuda {
// The blocks as kernels read them, [blocks, 3] i32.
Tensor adamw_table(const std::vector<AdamWBlock>& blocks, Device device);
// Queues: state.norm = |gradient|. `sums` [blocks] f64 is scratch; `state` holds an AdamWDeviceState.
void adamw_norm(const Tensor& gradient, const Tensor& table, const Tensor& sums, const Tensor& state);
// Queues a whole step: the norm; then, unless it or state.loss is not finite or the state is halted, the update with
// state.learning_rate.
void adamw_step(const Tensor& gradient, const Tensor& table, const Tensor& sums, const AdamWConstants& constants,
                const AdamWBuffers& buffers, const Tensor& state);
}  // namespace cuda

}  // namespace mixgrad
