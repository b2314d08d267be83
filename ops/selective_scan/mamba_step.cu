// mamba_step.h on CUDA. The matrices of a head lie in shared memory, the states in registers: where they are at rest
// (Context::weights_at_rest) all of them are loaded while the kernel ahead still runs. Separate operators take about
// ten kernels for this, which wait for each other.
#include "core/context.h"
#include "core/cuda/async_copy.cuh"
#include "core/cuda/hardware_float.cuh"
#include "core/cuda/launch.cuh"
#include "ops/elementwise/functions.h"
#include "ops/selective_scan/selective_scan_kernels.h"

namespace mixgrad::cuda {
namespace {

constexpr int kStepThreads = 512;
constexpr int kStepWarps = kStepThreads / kWarp;
constexpr int kMostStates = 8;          // of a thread, in registers
constexpr int kMostTaps = 8;            // of the convolution
constexpr int kMostBytes = 160 * 1024;  // of shared memory

template <class T>
struct HeadStep {
  using A = acc_t<T>;
  const T* projected;
  const A* conv;
  const A* conv_bias;
  const T* x_proj;
  const T* dt_proj;
  const T* dt_bias;
  const T* a_log;
  const T* d;
  const T* out_proj;
  T* history;
  A* scan_state;
  T* out;
  int heads, channels, taps, rank, states, outputs;
  int parts;                      // threads that share the states of a channel
  std::int64_t projected_stride;  // from sequence to sequence
  bool at_rest;
  // May the kernel run beside the one before it? What it reads, that one has not written, and the one before that has
  // ended when this one begins (core/cuda/launch.cuh). It waits at its end, so that whoever waits for it waits for
  // both.
  bool beside;

  __host__ __device__ int mixed_rows() const { return rank + 2 * states; }
  // Of the head's three matrices, each of whole chunks.
  __host__ __device__ int x_proj_size() const { return mixed_rows() * channels; }
  __host__ __device__ int dt_proj_size() const { return channels * rank; }
  __host__ __device__ int out_proj_size() const { return outputs * channels; }
  __host__ __device__ std::size_t bytes() const {
    return static_cast<std::size_t>(x_proj_size() + dt_proj_size() + out_proj_size()) * sizeof(T) +
           static_cast<std::size_t>(2 * channels + mixed_rows() + parts * channels) * sizeof(A);
  }
};

// Begins to copy: a load into a register and a store would hold up every load after them.
template <class T>
__device__ void copy_chunks(const T* from, int size, T* to) {
  for (int c = static_cast<int>(threadIdx.x); c < size / Chunk<T>::kSize; c += kStepThreads) {
    copy_chunk(reinterpret_cast<Chunk<T>*>(to) + c, reinterpret_cast<const Chunk<T>*>(from) + c, true);
  }
}

// f(row, sum over the columns of matrix[row] values) by one lane, for the rows of a matrix [rows, columns]. A warp has
// kTogether rows at a time, so that their sums do not wait for each other.
template <class T, class A, class F>
__device__ void for_products(const T* matrix, int rows, int columns, const A* values, const F& f) {
  constexpr int kTogether = 4;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int row = static_cast<int>(threadIdx.x) / kWarp; row < rows; row += kTogether * kStepWarps) {
    A sums[kTogether] = {};
    for (int c = lane; c < columns; c += kWarp) {
      const A value = values[c];
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        const int at = row + i * kStepWarps;
        if (at < rows) sums[i] += A(matrix[at * columns + c]) * value;
      }
    }
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
#pragma unroll
      for (int i = 0; i < kTogether; ++i) sums[i] += __shfl_xor_sync(0xffffffffU, sums[i], distance);
    }
    if (lane != 0) continue;
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      if (row + i * kStepWarps < rows) f(row + i * kStepWarps, sums[i]);
    }
  }
}

// bf16 models take the hardware's exponential (relative error about 1e-6), as their elementwise functions do.
template <class T>
__device__ acc_t<T> exp_of(acc_t<T> x) {
  if constexpr (std::is_same_v<T, bf16>) return __expf(x);
  return mixgrad::exp_value(x);
}

// Block (head, sequence).
template <class T>
__global__ void __launch_bounds__(kStepThreads) mamba_step_kernel(HeadStep<T> p) {
  using A = acc_t<T>;
  const auto thread = static_cast<int>(threadIdx.x);
  const auto head = static_cast<std::int64_t>(blockIdx.x);
  const std::int64_t row = blockIdx.y * static_cast<std::int64_t>(p.heads) + head;  // of sequence and head
  const int channels = p.channels;
  T* x_proj = shared<T>();
  T* dt_proj = x_proj + p.x_proj_size();
  T* out_proj = dt_proj + p.dt_proj_size();
  A* convolved = reinterpret_cast<A*>(out_proj + p.out_proj_size());  // [channels]
  A* gated = convolved + channels;                                    // [channels]
  A* mixed = gated + channels;                                        // [rank + 2 states]: delta, B, C
  A* partial = mixed + p.mixed_rows();                                // [parts, channels]

  // Thread (part, channel) has some states of a channel.
  const int channel = thread % channels;
  const int part = thread / channels;
  const int own = p.states / p.parts;
  const bool scans = part < p.parts;
  A* state = p.scan_state + (row * p.states + part * own) * channels + channel;
  A rates[kMostStates];
  A states[kMostStates];
  if (!p.at_rest && !p.beside) wait_for_previous();
  copy_chunks(p.x_proj + head * p.x_proj_size(), p.x_proj_size(), x_proj);
  copy_chunks(p.dt_proj + head * p.dt_proj_size(), p.dt_proj_size(), dt_proj);
  copy_chunks(p.out_proj + head * p.out_proj_size(), p.out_proj_size(), out_proj);
  commit_copies();
#pragma unroll
  for (int n = 0; n < kMostStates; ++n) {
    const bool there = scans && n < own;
    rates[n] = there ? A(p.a_log[(head * channels + channel) * p.states + part * own + n]) : A(0);
    states[n] = there ? state[static_cast<std::int64_t>(n) * channels] : A(0);
  }
  A taps[kMostTaps];
  A before[kMostTaps];
  const bool convolves = thread < channels;
  T* history = p.history + (blockIdx.y * static_cast<std::int64_t>(p.taps - 1) * p.heads + head) * channels + thread;
  const std::int64_t older = static_cast<std::int64_t>(p.heads) * channels;
#pragma unroll
  for (int w = 0; w < kMostTaps; ++w) {
    taps[w] = convolves && w < p.taps ? p.conv[(head * channels + thread) * p.taps + w] : A(0);
    before[w] = convolves && w < p.taps - 1 ? A(history[w * older]) : A(0);
  }
  if (p.at_rest && !p.beside) wait_for_previous();

  const T* projected = p.projected + blockIdx.y * p.projected_stride + head * 2 * channels;
  const A gate = convolves ? A(projected[channels + thread]) : A(0);
  if (convolves) {
    const T now = projected[thread];
    A sum = p.conv_bias[head * channels + thread];
#pragma unroll
    for (int w = 0; w < kMostTaps; ++w) {
      if (w < p.taps) sum += taps[w] * (w == p.taps - 1 ? A(now) : before[w]);
    }
    convolved[thread] = A(static_cast<T>(functions::Silu::f(sum)));
#pragma unroll
    for (int w = 0; w < kMostTaps - 1; ++w) {
      if (w < p.taps - 1) history[w * older] = w == p.taps - 2 ? now : static_cast<T>(before[w + 1]);
    }
  }
  wait_for_copies<0>();
  __syncthreads();
  for_products(x_proj, p.mixed_rows(), channels, convolved, [&](int at, A sum) { mixed[at] = A(static_cast<T>(sum)); });
  __syncthreads();
  if (scans) {
    A sum = 0;
    for (int k = 0; k < p.rank; ++k) sum += A(dt_proj[channel * p.rank + k]) * mixed[k];
    const A dt = A(static_cast<T>(sum + A(p.dt_bias[head * channels + channel])));
    const A step = functions::Softplus::f(dt);
    const A x = convolved[channel];
    A y = 0;
#pragma unroll
    for (int n = 0; n < kMostStates; ++n) {
      if (n >= own) break;
      const int index = part * own + n;
      const A decay = exp_of<T>(-step * exp_of<T>(rates[n]));
      states[n] = decay * states[n] + step * x * mixed[p.rank + index];
      y += mixed[p.rank + p.states + index] * states[n];
      state[static_cast<std::int64_t>(n) * channels] = states[n];
    }
    partial[part * channels + channel] = y;
  }
  __syncthreads();
  if (convolves) {
    A y = partial[thread];
    for (int other = 1; other < p.parts; ++other) y += partial[other * channels + thread];
    y = A(static_cast<T>(y + A(p.d[head * channels + thread]) * convolved[thread]));
    gated[thread] = A(static_cast<T>(A(functions::Silu::f(function_t<T>(static_cast<T>(gate)))) * y));
  }
  __syncthreads();
  T* out = p.out + row * p.outputs;
  for_products(out_proj, p.outputs, channels, gated, [&](int at, A sum) { out[at] = static_cast<T>(sum); });
  if (p.beside) {
    launch_next();
    wait_for_previous();
  }
}

template <class T>
bool run(const MambaStep& step, Tensor& out) {
  using A = acc_t<T>;
  constexpr std::int64_t kSize = Chunk<T>::kSize;
  const std::int64_t channels = step.a_log.dim(1);
  const std::int64_t states = step.a_log.dim(2);
  const std::int64_t taps = step.conv.dim(2);
  if (channels > kStepThreads || channels % kSize != 0 || taps > kMostTaps || taps < 2) return false;
  std::int64_t parts = kStepThreads / channels;
  while (parts > 1 && states % parts != 0) --parts;
  if (states / parts > kMostStates || step.projected.dim(0) > 65535) return false;
  const Tensor& projected = step.projected;
  const std::int64_t projected_stride = projected.row_stride() * (projected.rows() / projected.dim(0));
  if (reinterpret_cast<std::uintptr_t>(projected.raw()) % 16 != 0 || projected.row_stride() % kSize != 0) return false;
  if (projected.shape().rank() == 4 && !projected.is_contiguous()) return false;
  if (!are_chunks({&step.conv, &step.conv_bias, &step.x_proj, &step.dt_proj, &step.dt_bias, &step.a_log, &step.d,
                   &step.out_proj, &step.history, &step.scan_state})) {
    return false;
  }
  HeadStep<T> p{.projected = step.projected.data<T>(),
                .conv = step.conv.data<A>(),
                .conv_bias = step.conv_bias.data<A>(),
                .x_proj = step.x_proj.data<T>(),
                .dt_proj = step.dt_proj.data<T>(),
                .dt_bias = step.dt_bias.data<T>(),
                .a_log = step.a_log.data<T>(),
                .d = step.d.data<T>(),
                .out_proj = step.out_proj.data<T>(),
                .history = step.history.data<T>(),
                .scan_state = step.scan_state.data<A>(),
                .out = nullptr,
                .heads = static_cast<int>(step.a_log.dim(0)),
                .channels = static_cast<int>(channels),
                .taps = static_cast<int>(taps),
                .rank = static_cast<int>(step.dt_proj.dim(2)),
                .states = static_cast<int>(states),
                .outputs = static_cast<int>(step.out_proj.dim(1)),
                .parts = static_cast<int>(parts),
                .projected_stride = projected_stride,
                .at_rest = context().weights_at_rest,
                .beside = step.out_beside.defined()};
  if (p.bytes() > kMostBytes) return false;
  out = step.out_beside;
  if (!out.defined()) {
    out = Tensor::empty({projected.dim(0), 1, step.a_log.dim(0), step.out_proj.dim(1)}, projected.dtype(),
                        projected.device());
  }
  p.out = out.data<T>();
  const dim3 grid(static_cast<unsigned>(p.heads), static_cast<unsigned>(step.projected.dim(0)));
  launch("mamba_step", step.projected.device(), grid, kStepThreads, p.bytes(), mamba_step_kernel<T>, p);
  return true;
}

}  // namespace

bool mamba_step(const MambaStep& step, Tensor& out) {
  if (step.projected.dtype() == DType::bf16) return run<bf16>(step, out);
  if (step.projected.dtype() == DType::f32) return run<float>(step, out);
  return false;
}

}  // namespace mixgrad::cuda
