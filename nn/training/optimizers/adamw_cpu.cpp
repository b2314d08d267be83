#include <cmath>

#include "nn/training/optimizers/adamw.h"
#include "nn/training/optimizers/optimizer_blocks.h"

namespace mixgrad::cpu {
namespace {

AdamWScalars adamw_scalars(const StepProgress& now, const AdamWConstants& constants) {
  const double correction1 = 1.0 - std::pow(constants.beta1, now.steps);
  const double correction2 = 1.0 - std::pow(constants.beta2, now.steps);
  return {.rate = now.learning_rate / correction1,
          .inverse2 = 1.0 / correction2,
          .keep = 1.0 - now.learning_rate * constants.weight_decay};
}

}  // namespace

void adamw_update(const Tensor& gradient, const Tensor& blocks, const AdamWConstants& constants, const Tensor& progress,
                  const Tensor& scalars, const AdamWBuffers& buffers) {
  const StepProgress now = step_progress(progress);
  if (now.halted != 0) return;
  const AdamWScalars step = adamw_scalars(now, constants);
  *reinterpret_cast<AdamWScalars*>(scalars.raw()) = step;
  dispatch_accumulation(gradient.dtype(), "adamw", [&]<class T>() {
    const T* g = gradient.data<T>();
    T* p = buffers.master.data<T>();
    T* m = buffers.first.data<T>();
    T* v = buffers.second.data<T>();
    bf16* copy = buffers.copy.defined() ? buffers.copy.data<bf16>() : nullptr;
    const T factor = T(now.scale);
    const T beta1 = T(constants.beta1);
    const T beta2 = T(constants.beta2);
    const T inverse2 = T(step.inverse2);
    const T eps = T(constants.eps);
    const std::int64_t first = constants.state_begin;
    const std::int64_t first_master = constants.master_begin;
    for_each_block(blocks, [&](std::int64_t, const ParameterBlock& block) {
      if (!block.trainable) return;
      const T keep = T(block.rule.keep(step.keep));
      const T rate = T(step.rate * block.rule.lr_scale);
#pragma omp simd
      for (std::int64_t j = block.begin; j < block.end; ++j) {
        const T value = g[j] * factor;
        T& m_now = m[j - first];
        T& v_now = v[j - first];
        m_now = beta1 * m_now + (T(1) - beta1) * value;
        v_now = beta2 * v_now + (T(1) - beta2) * value * value;
        T& master = p[j - first_master];
        master = master * keep - rate * m_now / (std::sqrt(v_now * inverse2) + eps);
      }
      if (copy == nullptr) return;
      for (std::int64_t j = block.begin; j < block.end; ++j) copy[j] = static_cast<bf16>(p[j - first_master]);
    });
  });
}

}  // namespace mixgrad::cpu
