// AdamW (Loshchilov and Hutter, 2019) over the flat buffers of a ParameterSet.
//   g  = gradient min(1, clip / (|gradient| + 1e-6)),  |.| over all parameters
//   m  = beta1 m + (1 - beta1) g,    v = beta2 v + (1 - beta2) g^2
//   p <- p (1 - lr weight_decay) - lr mhat / (sqrt(vhat) + eps),   mhat = m/(1 - beta1^t),  vhat = v/(1 - beta2^t)
// Weight decay where Parameter::decay says so. Sums run over fixed blocks in index order: deterministic.
#pragma once

#include <cstdint>

#include "nn/modules/parameter.h"
#include "nn/training/optimizers/adamw_kernels.h"

namespace mixgrad {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  double clip = 1.0;  // largest gradient norm; must be above 0
};

class AdamW {
 public:
  AdamW(ParameterSet& parameters, const AdamWOptions& options);

  // One step; returns the norm of the gradients before clipping. GradError, naming it, when a trainable parameter has
  // no gradient. When the norm is not finite nothing is written.
  double step(const Gradients& gradients, double learning_rate);

  double norm_of(const Gradients& gradients) { return norm(gradients.flat()); }  // of the trainable parameters

  // On a CUDA device: queues a step that needs nothing from the host and may be captured in a graph. It takes learning
  // rate and loss from device_state(), counts there, and changes nothing once that is halted
  // (nn/training/optimizers/adamw_kernels.h).
  void queue_step(const Gradients& gradients);
  const Tensor& device_state() const { return state_; }  // holds one AdamWDeviceState; undefined on the host
  AdamWDeviceState read_state() const;                   // waits for the device
  void write_state(const AdamWDeviceState& state);

  std::int64_t steps() const { return steps_; }
  const Tensor& first_moment() const { return m_; }  // flat, like the parameters
  const Tensor& second_moment() const { return v_; }
  void restore(const Tensor& m, const Tensor& v, std::int64_t steps);
  void resume_at(std::int64_t steps) { steps_ = steps; }  // the moments were read in place

 private:
  void check_arrived(const Gradients& gradients) const;
  void note_flags();  // a parameter may have been frozen since the last step
  double norm(const Tensor& gradient);
  double step_on_device(const Gradients& gradients, double learning_rate);
  AdamWConstants constants() const;
  AdamWBuffers buffers() const;

  ParameterSet& parameters_;
  AdamWOptions options_;
  Tensor m_;
  Tensor v_;
  std::int64_t steps_ = 0;
  std::vector<AdamWBlock> blocks_;        // of all parameters, in order
  std::vector<const Parameter*> owners_;  // of the blocks
  std::vector<double> sums_;              // one per block
  Tensor table_, device_sums_, state_;    // the same on a CUDA device, and what it keeps of the optimizer
};

}  // namespace mixgrad
