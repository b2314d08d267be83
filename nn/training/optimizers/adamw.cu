#include <cmath>

#include "nn/training/optimizers/adamw.h"
#include "nn/training/optimizers/optimizer_blocks.cuh"

namespace mixgrad::cuda {
namespace {

AdamWScalars* adamw_scalars(const Tensor& scalars) { return reinterpret_cast<AdamWScalars*>(scalars.raw()); }

// By one thread: two powers in f64, which every thread of the update would otherwise work out for itself.
void prepare(const AdamWConstants& constants, const Tensor& progress, const Tensor& scalars) {
  const StepProgress* now = step_progress(progress);
  AdamWScalars* step = adamw_scalars(scalars);
  const AdamWConstants c = constants;
  for_each("adamw", progress.device(), 1, [=] __device__(std::int64_t) {
    if (now->halted != 0) return;
    *step = {.rate = now->learning_rate / (1.0 - pow(c.beta1, now->steps)),
             .inverse2 = 1.0 / (1.0 - pow(c.beta2, now->steps)),
             .keep = 1.0 - now->learning_rate * c.weight_decay};
  });
}

template <class T>
void update(const Tensor& gradient, const Tensor& blocks, const AdamWConstants& constants, const Tensor& progress,
            const Tensor& scalars, const AdamWBuffers& buffers) {
  const T* g = gradient.data<T>();
  T* p = buffers.master.data<T>();
  T* m = buffers.first.data<T>();
  T* v = buffers.second.data<T>();
  bf16* copy = buffers.copy.defined() ? buffers.copy.data<bf16>() : nullptr;
  const StepProgress* now = step_progress(progress);
  const AdamWScalars* step = adamw_scalars(scalars);
  const AdamWConstants c = constants;
  const auto part = [=] __device__(std::int64_t begin, std::int64_t end, const BlockRule& rule) {
    const T keep = T(rule.keep(step->keep));
    const T factor = T(now->scale);
    const T beta1 = T(c.beta1);
    const T beta2 = T(c.beta2);
    const T rate = T(step->rate * rule.lr_scale);
    const T inverse2 = T(step->inverse2);
    const T eps = T(c.eps);
    for (std::int64_t j = begin + threadIdx.x; j < end; j += kRowThreads) {
      const T value = g[j] * factor;
      const std::int64_t at = j - c.state_begin;
      T& master = p[j - c.master_begin];
      const T m_now = beta1 * m[at] + (T(1) - beta1) * value;
      const T v_now = beta2 * v[at] + (T(1) - beta2) * value * value;
      const T p_now = master * keep - rate * m_now / (std::sqrt(v_now * inverse2) + eps);
      m[at] = m_now;
      v[at] = v_now;
      master = p_now;
      if (copy != nullptr) copy[j] = static_cast<bf16>(p_now);
    }
  };
  for_each_trainable_part("adamw", blocks, progress, part);
}

}  // namespace

void adamw_update(const Tensor& gradient, const Tensor& blocks, const AdamWConstants& constants, const Tensor& progress,
                  const Tensor& scalars, const AdamWBuffers& buffers) {
  prepare(constants, progress, scalars);
  dispatch_accumulation(gradient.dtype(), "adamw",
                        [&]<class T>() { update<T>(gradient, blocks, constants, progress, scalars, buffers); });
}

}  // namespace mixgrad::cuda
