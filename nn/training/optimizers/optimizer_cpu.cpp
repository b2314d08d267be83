#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "nn/training/optimizers/optimizer_blocks.h"

namespace mixgrad::cpu {

void square_sums(const Tensor& gradient, const Tensor& blocks, const Tensor& sums) {
  double* sum_of = sums.data<double>();
  dispatch_accumulation(gradient.dtype(), "gradient norm", [&]<class T>() {
    const T* g = gradient.data<T>();
    for_each_block(blocks, [&](std::int64_t i, const ParameterBlock& block) {
      double sum = 0;
      if (block.trainable) {
#pragma omp simd reduction(+ : sum)
        for (std::int64_t j = block.begin; j < block.end; ++j)
          sum += static_cast<double>(g[j]) * static_cast<double>(g[j]);
      }
      sum_of[i] = sum;
    });
  });
}

void gradient_norm(const Tensor& sums, const Tensor& progress) {
  const double* sum_of = sums.data<double>();
  double total = 0;
  for (std::int64_t i = 0; i < sums.numel(); ++i) total += sum_of[i];
  step_progress(progress).norm = std::sqrt(total);
}

void begin_step(const Tensor& sums, double clip, const Tensor& progress) {
  gradient_norm(sums, progress);
  StepProgress& now = step_progress(progress);
  if (!std::isfinite(now.norm) || !std::isfinite(now.loss)) now.halted = 1;
  if (now.halted != 0) return;
  ++now.steps;
  now.scale = std::min(1.0, clip / (now.norm + 1e-6));
}

void copy_pieces(const Tensor& from, const Tensor& to, const Tensor& pieces, const Tensor& progress) {
  if (step_progress(progress).halted != 0) return;
  const std::int32_t* rows = pieces.data<std::int32_t>();
  parallel_for(pieces.dim(0), [&](std::int64_t i) {
    const float* begin = from.data<float>() + rows[3 * i] * kBlockAlignment;
    std::copy(begin, begin + rows[3 * i + 2], to.data<float>() + rows[3 * i + 1] * kBlockAlignment);
  });
}

}  // namespace mixgrad::cpu
