// AdamW (Loshchilov and Hutter, 2019) over the flat buffers of a ParameterSet.
//   g  = gradient min(1, clip / (|gradient| + 1e-6)),  |.| over all trainable parameters
//   m  = beta1 m + (1 - beta1) g,    v = beta2 v + (1 - beta2) g^2
//   p <- p (1 - lr weight_decay) - lr mhat / (sqrt(vhat) + eps),   mhat = m/(1 - beta1^t),  vhat = v/(1 - beta2^t)
// Weight decay applies where Parameter::decay says so.
#pragma once

#include <cstdint>

#include "nn/training/optimizers/optimizer.h"

namespace mixgrad {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  double clip = 1.0;  // largest gradient norm; must be above 0
};

class AdamW final : public Optimizer {
 public:
  AdamW(ParameterSet& parameters, const AdamWOptions& options);  // ValueError for an option outside its range

  std::vector<NamedTensor> state() const override;  // NAME.m and NAME.v of each parameter

  const Tensor& first_moment() const { return m_; }  // flat, like the parameters
  const Tensor& second_moment() const { return v_; }
  void restore(const Tensor& m, const Tensor& v, std::int64_t steps);

 private:
  std::vector<Tensor*> divided_state() override { return {&m_, &v_}; }
  void queue_update(const Tensor& gradient) override;

  AdamWOptions options_;
  Tensor m_, v_;
  Tensor scalars_;  // [AdamWScalars::kNumbers] f64, on the parameters' device
};

// For its kernels: what stays the same over a run.
struct AdamWConstants {
  double beta1, beta2, eps, weight_decay;
  std::int64_t state_begin = 0;   // the moments of parameter j are at j - state_begin
  std::int64_t master_begin = 0;  // its master is at j - master_begin; its gradient and its bf16 copy are at j
};

// What is the same for all elements of one step. A kernel works it out from the progress and the constants.
struct AdamWScalars {
  static constexpr std::int64_t kNumbers = 3;
  double rate;      // learning rate / (1 - beta1^t)
  double inverse2;  // 1 / (1 - beta2^t)
  double keep;      // 1 - learning rate * weight decay, where a block decays
};
static_assert(sizeof(AdamWScalars) == AdamWScalars::kNumbers * sizeof(double));

// The flat buffers that a step changes, of one layout; of divided ones (Optimizer::shard) a share.
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
