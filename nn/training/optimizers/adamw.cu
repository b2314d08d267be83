#include <cmath>

#include "core/cuda/launch.cuh"
#include "nn/training/optimizers/adamw_kernels.h"

namespace mixgrad::cuda {
namespace {

// The blocks on the device: begin / 16, number of elements, flags. Blocks begin at multiples of 16 (FlatLayout).
constexpr std::int64_t kBegin = 16;
constexpr std::int32_t kTrainable = 1;
constexpr std::int32_t kDecay = 2;
constexpr std::int64_t kParts = 8;  // of a block in the update: each of its elements stands alone

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

__device__ AdamWDeviceState* state_of(double* memory) { return reinterpret_cast<AdamWDeviceState*>(memory); }

// By one thread: what the norm and the learning rate make of this step.
__device__ void prepare(AdamWDeviceState& state, const AdamWConstants& c) {
  if (!isfinite(state.norm) || !isfinite(state.loss)) state.halted = 1;
  if (state.halted != 0) return;
  ++state.steps;
  const double t = static_cast<double>(state.steps);
  const double clip = c.clip / (state.norm + 1e-6);
  state.step = {.scale = clip < 1 ? clip : 1.0,
                .beta1 = c.beta1,
                .beta2 = c.beta2,
                .rate = state.learning_rate / (1.0 - pow(c.beta1, t)),
                .inverse2 = 1.0 / (1.0 - pow(c.beta2, t)),
                .eps = c.eps,
                .keep = 1.0 - state.learning_rate * c.weight_decay};
}

// state.norm, and with constants the scalars of the step.
void finish_norm(const Tensor& sums, const Tensor& state, const AdamWConstants* constants) {
  const std::int64_t count = sums.numel();
  const double* from = sums.data<double>();
  double* memory = state.data<double>();
  const bool step = constants != nullptr;
  const AdamWConstants c = step ? *constants : AdamWConstants{};
  for_each_row("adamw", sums.device(), 1, [=] __device__(std::int64_t) {
    double sum = 0;
    for (std::int64_t i = threadIdx.x; i < count; i += kRowThreads) sum += from[i];
    sum = block_sum(sum);
    if (threadIdx.x != 0) return;
    AdamWDeviceState& to = *state_of(memory);
    to.norm = sqrt(sum);
    if (step) prepare(to, c);
  });
}

template <class T>
void update(const Tensor& gradient, const Tensor& table, const AdamWBuffers& buffers, const Tensor& state) {
  const T* g = gradient.data<T>();
  T* p = buffers.master.data<T>();
  T* m = buffers.first.data<T>();
  T* v = buffers.second.data<T>();
  bf16* copy = buffers.copy.defined() ? buffers.copy.data<bf16>() : nullptr;
  double* memory = state.data<double>();
  const Rows<std::int32_t> rows(table);
  for_each_row("adamw", gradient.device(), rows.count * kParts, [=] __device__(std::int64_t task) {
    const AdamWDeviceState& now = *state_of(memory);
    const std::int64_t i = task / kParts;
    if (now.halted != 0 || (rows[i][2] & kTrainable) == 0) return;
    const T keep = (rows[i][2] & kDecay) != 0 ? T(now.step.keep) : T(1);
    const T factor = T(now.step.scale);
    const T beta1 = T(now.step.beta1);
    const T beta2 = T(now.step.beta2);
    const T rate = T(now.step.rate);
    const T inverse2 = T(now.step.inverse2);
    const T eps = T(now.step.eps);
    const std::int64_t part = kAdamWBlock / kParts;
    const std::int64_t first = task % kParts * part;
    const std::int64_t end = first + part < rows[i][1] ? first + part : rows[i][1];
    const std::int64_t begin = rows[i][0] * kBegin;
    for (std::int64_t j = begin + first + threadIdx.x; j < begin + end; j += kRowThreads) {
      const T value = g[j] * factor;
      const T m_now = beta1 * m[j] + (T(1) - beta1) * value;
      const T v_now = beta2 * v[j] + (T(1) - beta2) * value * value;
      const T p_now = p[j] * keep - rate * m_now / (std::sqrt(v_now * inverse2) + eps);
      m[j] = m_now;
      v[j] = v_now;
      p[j] = p_now;
      if (copy != nullptr) copy[j] = static_cast<bf16>(p_now);
    }
  });
}

}  // namespace

Tensor adamw_table(const std::vector<AdamWBlock>& blocks, Device device) {
  std::vector<std::int32_t> rows;
  for (const AdamWBlock& block : blocks) {
    MIXGRAD_ASSERT(block.begin % kBegin == 0 && block.begin / kBegin <= INT32_MAX, "blocks within 2^35 parameters");
    rows.push_back(static_cast<std::int32_t>(block.begin / kBegin));
    rows.push_back(static_cast<std::int32_t>(block.end - block.begin));
    rows.push_back((block.trainable ? kTrainable : 0) | (block.decay ? kDecay : 0));
  }
  return Tensor::from_i32(rows, {static_cast<std::int64_t>(blocks.size()), 3}).to(device);
}

void adamw_norm(const Tensor& gradient, const Tensor& table, const Tensor& sums, const Tensor& state) {
  dispatch_accumulation(gradient.dtype(), "adamw", [&]<class T>() { block_sums<T>(gradient, table, sums); });
  finish_norm(sums, state, nullptr);
}

void adamw_step(const Tensor& gradient, const Tensor& table, const Tensor& sums, const AdamWConstants& constants,
                const AdamWBuffers& buffers, const Tensor& state) {
  dispatch_accumulation(gradient.dtype(), "adamw", [&]<class T>() {
    block_sums<T>(gradient, table, sums);
    finish_norm(sums, state, &constants);
    update<T>(gradient, table, buffers, state);
  });
}

}  // namespace mixgrad::cuda
