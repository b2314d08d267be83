// The update of AdamW (nn/training/optimizers/adamw.h) over flat buffers, for both devices.
#pragma once

#include <cstdint>

#include "nn/training/optimizers/optimizer_kernels.h"

namespace mixgrad {

// What stays the same over a run.
struct AdamWConstants {
  double beta1, beta2, eps, weight_decay;
};

// What is the same for all elements of one step. A kernel works it out from the progress and the constants.
struct AdamWScalars {
  static constexpr std::int64_t kNumbers = 3;
  double rate;      // learning rate / (1 - beta1^t)
  double inverse2;  // 1 / (1 - beta2^t)
  double keep;      // 1 - learning rate * weight decay, where a block decays
};
static_assert(sizeof(AdamWScalars) == AdamWScalars::kNumbers * sizeof(double));

// The flat buffers that a step changes, of one layout.
struct AdamWBuffers {
  Tensor master, first, second;  // parameters and moments, f64 or f32
  Tensor copy;  // the masters in bf16, written in the same pass; undefined where they are used as they are

  template <class F>
  void each_tensor(const F& visit) {
    for (Tensor* tensor : {&master, &first, &second, &copy}) visit(*tensor);
  }
};

}  // namespace mixgrad

// `blocks` and `progress`: optimizer_kernels.h. `scalars` [AdamWScalars::kNumbers] f64 is written before it is read.
MIXGRAD_KERNELS(void adamw_update(const Tensor& gradient, const Tensor& blocks, const AdamWConstants& constants,
                                  const Tensor& progress, const Tensor& scalars, const AdamWBuffers& buffers);)
