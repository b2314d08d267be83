// mamba_step.h on CUDA. The matrices of a head lie in shared memory, the states in registers: where they are at rest
// (Context::weights_at_rest) all of them are loaded while the kernel ahead still runs. Separate operators take about
// ten kernels for this, which wait for each other.
#include "core/context.h"
#include "core/cuda/async_copy.cuh"
#include "core/cuda/hardware_float.cuh"
#include "core/cuda/launch.cuh"
#include "core/cuda/raw_chunk.cuh"
#include "ops/elementwise/functions.h"
#include "ops/selective_scan/selective_scan_kernels.h"

namespace mixgrad::cuda {
namespace {

constexpr int kStepThreads = 512;
constexpr int kStepWarps = kStepThreads / kWarp;
constexpr int kMostStates = 8;          // of a thread, in registers
constexpr int kMostTaps = 8;            // of the convolution
constexpr int kUsualTaps = 4;           // for which a kernel of its own has no loop over those that are not there
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
  int lanes;                      // of a warp, that share a row of a matrix
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
#pragma unroll 1
  for (int c = static_cast<int>(threadIdx.x); c < size / Chunk<T>::kSize; c += kStepThreads) {
    copy_chunk(reinterpret_cast<Chunk<T>*>(to) + c, reinterpret_cast<const Chunk<T>*>(from) + c, true);
  }
}

// f(row, sum over the columns of matrix[row] values) by one lane, for the rows of a matrix [rows, columns] of whole
// chunks. `lanes` of a warp, a power of two, have a row together and read its chunks side by side.
template <class T, class F>
__device__ void for_products(const T* matrix, int rows, int columns, int lanes, const acc_t<T>* values, const F& f) {
  using A = acc_t<T>;
  constexpr int kSize = Chunk<T>::kSize;
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  // Every lane of a warp takes part in its sums, also where the last rows are fewer than the warp has room for.
  const int first = static_cast<int>(threadIdx.x) / kWarp * (kWarp / lanes);
#pragma unroll 1
  for (int base = first; base < rows; base += kStepThreads / lanes) {
    const int row = base + static_cast<int>(threadIdx.x) % kWarp / lanes;
    A sum = 0;
#pragma unroll 1
    for (int c = lane * kSize; row < rows && c < columns; c += lanes * kSize) {
      const Raw chunk = raw(matrix + row * columns + c);
#pragma unroll
      for (int i = 0; i < kSize; ++i) sum += A(element<T>(chunk, i)) * values[c + i];
    }
#pragma unroll 1
    for (int distance = lanes / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, distance);
    if (lane == 0 && row < rows) f(row, sum);
  }
}

// bf16 models take the hardware's exponential (relative error about 1e-6), as their elementwise functions do.
template <class T>
__device__ acc_t<T> exp_of(acc_t<T> x) {
  if constexpr (std::is_same_v<T, bf16>) return __expf(x);
  return mixgrad::exp_value(x);
}

// Block (head, sequence). kOwn: states of a thread; kTaps: of the convolution, at most. Both are known to the compiler,
// since the kernel is as long as the instructions that its one multiprocessor issues: with loops over 8 states and
// taps, and products by single elements, it took 2,900 of them.
template <class T, int kOwn, int kTaps>
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
  const bool scans = part < p.parts;
  A* state = p.scan_state + (row * p.states + part * kOwn) * channels + channel;
  A rates[kOwn];
  A states[kOwn];
  if (!p.at_rest && !p.beside) wait_for_previous();
  copy_chunks(p.x_proj + head * p.x_proj_size(), p.x_proj_size(), x_proj);
  copy_chunks(p.dt_proj + head * p.dt_proj_size(), p.dt_proj_size(), dt_proj);
  copy_chunks(p.out_proj + head * p.out_proj_size(), p.out_proj_size(), out_proj);
  commit_copies();
#pragma unroll
  for (int n = 0; n < kOwn; ++n) {
    rates[n] = scans ? A(p.a_log[(head * channels + channel) * p.states + part * kOwn + n]) : A(0);
    states[n] = scans ? state[n * channels] : A(0);
  }
  A taps[kTaps];
  A before[kTaps];
  const bool convolves = thread < channels;
  T* history = p.history + (blockIdx.y * static_cast<std::int64_t>(p.taps - 1) * p.heads + head) * channels + thread;
  const std::int64_t older = static_cast<std::int64_t>(p.heads) * channels;
#pragma unroll
  for (int w = 0; w < kTaps; ++w) {
    taps[w] = convolves && w < p.taps ? p.conv[(head * channels + thread) * p.taps + w] : A(0);
    before[w] = convolves && w < p.taps - 1 ? A(history[w * older]) : A(0);
  }
  // Read here, not where they are needed: there each would hold up all threads for as long as memory takes.
  const A conv_bias = convolves ? p.conv_bias[head * channels + thread] : A(0);
  const A skip = convolves ? A(p.d[head * channels + thread]) : A(0);
  const A dt_bias = scans ? A(p.dt_bias[head * channels + channel]) : A(0);
  if (p.at_rest && !p.beside) wait_for_previous();

  const T* projected = p.projected + blockIdx.y * p.projected_stride + head * 2 * channels;
  const T now = convolves ? projected[thread] : static_cast<T>(A(0));
  const A gate = convolves ? A(projected[channels + thread]) : A(0);
#pragma unroll
  for (int n = 0; n < kOwn; ++n) rates[n] = exp_of<T>(rates[n]);
  if (convolves) {
    A sum = conv_bias;
#pragma unroll
    for (int w = 0; w < kTaps; ++w) {
      if (w < p.taps) sum += taps[w] * (w == p.taps - 1 ? A(now) : before[w]);
    }
    convolved[thread] = A(static_cast<T>(A(functions::Silu::f(function_t<T>(sum)))));
#pragma unroll
    for (int w = 0; w < kTaps - 1; ++w) {
      if (w < p.taps - 1) history[w * older] = w == p.taps - 2 ? now : static_cast<T>(before[w + 1]);
    }
  }
  wait_for_copies<0>();
  __syncthreads();
  for_products(x_proj, p.mixed_rows(), channels, p.lanes, convolved,
               [&](int at, A sum) { mixed[at] = A(static_cast<T>(sum)); });
  __syncthreads();
  if (scans) {
    A sum = 0;
    for (int k = 0; k < p.rank; ++k) sum += A(dt_proj[channel * p.rank + k]) * mixed[k];
    const A dt = A(static_cast<T>(sum + dt_bias));
    const A step = A(functions::Softplus::f(function_t<T>(dt)));
    const A x = convolved[channel];
    A y = 0;
#pragma unroll
    for (int n = 0; n < kOwn; ++n) {
      const int index = part * kOwn + n;
      const A decay = exp_of<T>(-step * rates[n]);
      states[n] = decay * states[n] + step * x * mixed[p.rank + index];
      y += mixed[p.rank + p.states + index] * states[n];
      state[n * channels] = states[n];
    }
    partial[part * channels + channel] = y;
  }
  __syncthreads();
  if (convolves) {
    A y = partial[thread];
    for (int other = 1; other < p.parts; ++other) y += partial[other * channels + thread];
    y = A(static_cast<T>(y + skip * convolved[thread]));
    gated[thread] = A(static_cast<T>(A(functions::Silu::f(function_t<T>(static_cast<T>(gate)))) * y));
  }
  __syncthreads();
  T* out = p.out + row * p.outputs;
  for_products(out_proj, p.outputs, channels, p.lanes, gated, [&](int at, A sum) { out[at] = static_cast<T>(sum); });
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
  // Of the threads of a channel each has 1, 2, 4 or 8 states, as few as go round.
  std::int64_t own = 1;
  while (own <= kMostStates && (states % own != 0 || states / own > kStepThreads / channels)) own *= 2;
  if (own > kMostStates || step.projected.dim(0) > 65535) return false;
  std::int64_t lanes = 1;
  while (lanes < kWarp && 2 * lanes * kSize <= channels) lanes *= 2;
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
                .parts = static_cast<int>(states / own),
                .lanes = static_cast<int>(lanes),
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
  const auto with_states = [&]<int kOwn>() {
    const auto code =
        taps <= kUsualTaps ? mamba_step_kernel<T, kOwn, kUsualTaps> : mamba_step_kernel<T, kOwn, kMostTaps>;
    launch("mamba_step", step.projected.device(), grid, kStepThreads, p.bytes(), code, p);
  };
  switch (own) {
    case 1: with_states.template operator()<1>(); break;
    case 2: with_states.template operator()<2>(); break;
    case 4: with_states.template operator()<4>(); break;
    default: with_states.template operator()<8>();
  }
  return true;
}

}  // namespace

bool mamba_step(const MambaStep& step, Tensor& out) {
  if (step.projected.dtype() == DType::bf16) return run<bf16>(step, out);
  if (step.projected.dtype() == DType::f32) return run<float>(step, out);
  return false;
}

}  // namespace mixgrad::cuda
