#include <cmath>

#include "core/cuda_launch.cuh"
#include "nn/adamw_kernels.h"

namespace mixgrad::cuda {
namespace {

// The blocks on the device: begin / 16, number of elements, flags. Blocks begin at multiples of 16 (FlatLayout).
constexpr std::int64_t kBegin = 16;
constexpr std::int32_t kTrainable = 1;
constexpr std::int32_t kDecay = 2;

Tensor block_table(const std::vector<AdamWBlock>& blocks, Device device) {
  std::vector<std::int32_t> rows;
  for (const AdamWBlock& block : blocks) {
    MIXGRAD_ASSERT(block.begin % kBegin == 0 && block.begin / kBegin <= INT32_MAX, "blocks within 2^35 parameters");
    rows.push_back(static_cast<std::int32_t>(block.begin / kBegin));
    rows.push_back(static_cast<std::int32_t>(block.end - block.begin));
    rows.push_back((block.trainable ? kTrainable : 0) | (block.decay ? kDecay : 0));
  }
  return Tensor::from_i32(rows, {static_cast<std::int64_t>(blocks.size()), 3}).to(device);
}

template <class T>
void block_sums(const Tensor& gradient, const Tensor& table, const Tensor& sums) {
  const T* g = gradient.data<T>();
  const Rows<std::int32_t> rows(table);
  double* to = sums.data<double>();
  for_each_row("adamw", gradient.device(), rows.count, [=] __device__(std::int64_t i) {
    const std::int64_t begin = rows[i][0] * kBegin;
    double sum = 0;
    if ((rows[i][2] & kTrainable) != 0) {
      for (std::int32_t j = static_cast<std::int32_t>(threadIdx.x); j < rows[i][1]; j += kRowThreads) {
        sum += static_cast<double>(g[begin + j]) * static_cast<double>(g[begin + j]);
      }
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) to[i] = sum;
  });
}

template <class T>
void update(const Tensor& gradient, const Tensor& table, const AdamWStep& step, const Tensor& parameters,
            const Tensor& first, const Tensor& second) {
  const T* g = gradient.data<T>();
  T* p = parameters.data<T>();
  T* m = first.data<T>();
  T* v = second.data<T>();
  const Rows<std::int32_t> rows(table);
  const T factor = T(step.scale);
  const T beta1 = T(step.beta1);
  const T beta2 = T(step.beta2);
  const T rate = T(step.rate);
  const T inverse2 = T(step.inverse2);
  const T eps = T(step.eps);
  const T kept = T(step.keep);
  for_each_row("adamw", gradient.device(), rows.count, [=] __device__(std::int64_t i) {
    if ((rows[i][2] & kTrainable) == 0) return;
    const T keep = (rows[i][2] & kDecay) != 0 ? kept : T(1);
    const std::int64_t begin = rows[i][0] * kBegin;
    for (std::int64_t j = begin + threadIdx.x; j < begin + rows[i][1]; j += kRowThreads) {
      const T value = g[j] * factor;
      m[j] = beta1 * m[j] + (T(1) - beta1) * value;
      v[j] = beta2 * v[j] + (T(1) - beta2) * value * value;
      p[j] = p[j] * keep - rate * m[j] / (std::sqrt(v[j] * inverse2) + eps);
    }
  });
}

}  // namespace

double adamw_norm(const Tensor& gradient, const std::vector<AdamWBlock>& blocks, std::vector<double>& sums) {
  const Tensor table = block_table(blocks, gradient.device());
  const Tensor there = Tensor::empty({static_cast<std::int64_t>(blocks.size())}, DType::f64, gradient.device());
  dispatch_accumulation(gradient.dtype(), "adamw", [&]<class T>() { block_sums<T>(gradient, table, there); });
  sums = there.to_vector();
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

void adamw_update(const Tensor& gradient, const std::vector<AdamWBlock>& blocks, const AdamWStep& step,
                  const Tensor& parameters, const Tensor& m, const Tensor& v) {
  const Tensor table = block_table(blocks, gradient.device());
  dispatch_accumulation(gradient.dtype(), "adamw",
                        [&]<class T>() { update<T>(gradient, table, step, parameters, m, v); });
}

}  // namespace mixgrad::cuda
