#include <cmath>

#include "core/parallel.h"
#include "nn/training/optimizers/adamw_kernels.h"

namespace mixgrad::cpu {

double adamw_norm(const Tensor& gradient, const std::vector<AdamWBlock>& blocks, std::vector<double>& sums) {
  dispatch_accumulation(gradient.dtype(), "adamw", [&]<class T>() {
    const T* g = gradient.data<T>();
    parallel_for(static_cast<std::int64_t>(blocks.size()), [&](std::int64_t i) {
      const AdamWBlock& block = blocks[static_cast<std::size_t>(i)];
      double sum = 0;
      if (!block.trainable) {
        sums[static_cast<std::size_t>(i)] = 0;
        return;
      }
#pragma omp simd reduction(+ : sum)
      for (std::int64_t j = block.begin; j < block.end; ++j)
        sum += static_cast<double>(g[j]) * static_cast<double>(g[j]);
      sums[static_cast<std::size_t>(i)] = sum;
    });
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

void adamw_update(const Tensor& gradient, const std::vector<AdamWBlock>& blocks, const AdamWStep& step,
                  const AdamWBuffers& buffers) {
  dispatch_accumulation(gradient.dtype(), "adamw", [&]<class T>() {
    const T* g = gradient.data<T>();
    T* p = buffers.master.data<T>();
    T* m = buffers.first.data<T>();
    T* v = buffers.second.data<T>();
    bf16* copy = buffers.copy.defined() ? buffers.copy.data<bf16>() : nullptr;
    const T factor = T(step.scale);
    const T beta1 = T(step.beta1);
    const T beta2 = T(step.beta2);
    const T rate = T(step.rate);
    const T inverse2 = T(step.inverse2);
    const T eps = T(step.eps);
    parallel_for(static_cast<std::int64_t>(blocks.size()), [&](std::int64_t i) {
      const AdamWBlock& block = blocks[static_cast<std::size_t>(i)];
      if (!block.trainable) return;
      const T keep = block.decay ? T(step.keep) : T(1);
#pragma omp simd
      for (std::int64_t j = block.begin; j < block.end; ++j) {
        const T value = g[j] * factor;
        m[j] = beta1 * m[j] + (T(1) - beta1) * value;
        v[j] = beta2 * v[j] + (T(1) - beta2) * value * value;
        p[j] = p[j] * keep - rate * m[j] / (std::sqrt(v[j] * inverse2) + eps);
      }
      if (copy == nullptr) return;
      for (std::int64_t j = block.begin; j < block.end; ++j) copy[j] = static_cast<bf16>(p[j]);
    });
  });
}

}  // namespace mixgrad::cpu
