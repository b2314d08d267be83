// The convolution by stretches of time, for 2 to 4 taps and channels in fours: a thread has 4 channels of a head and a
// stretch of tokens, whose inputs it loads at once (8 bytes of bf16, 16 of f32 each) and filters out of registers.
//   forward   reads x once, and W-1 tokens before each stretch again
//   backward  reads x and dy once, and up to W-1 tokens on both sides again; writes dx and the sums for weight and bias
//             in the same pass. A block joins the sums of its 8 stretches in order, join_partial_sums those of blocks.
// Bytes decide: B16 T1024, 6 heads of 64 channels in bf16 are 25 MB forward and 38 MB backward. The implementation
// element by element reads x five times, goes through dp in f32 and divides 64-bit integers for every element.
#pragma once

#include "core/cuda/hardware_float.cuh"
#include "core/cuda/partial_sums.cuh"
#include "ops/causal_conv/causal_conv_blocks.h"
#include "ops/causal_conv/causal_conv_inputs.cuh"
#include "ops/elementwise/functions.h"

namespace mixgrad::cuda::stretches {

inline constexpr int kFour = static_cast<int>(kConvThreadChannels);  // channels of a thread
inline constexpr int kColumns = kWarp;                               // threads of a block side by side
inline constexpr int kStretches = 8;                                 // of a block
inline constexpr std::int64_t kMostColumnBlocks = 65535;             // of a grid's second axis
// Tokens of a thread. Twice as many need 255 registers in the backward pass.
template <class T>
inline constexpr int kTokens = static_cast<int>(sizeof(T) == 8 ? kConvStretchDoubles : kConvStretch);

template <class T>
struct alignas(sizeof(T) * kFour < 16 ? sizeof(T) * kFour : 16) Four {
  T values[kFour];
};

template <class T>
__device__ Four<T> load(const T* from, std::int64_t c) {
  return from == nullptr ? Four<T>{} : *reinterpret_cast<const Four<T>*>(from + c);
}

// Which channels of which stretch a thread has.
template <class T>
struct ThreadWork {
  std::int64_t sequence, begin, head, c, column;
  bool live;

  __device__ explicit ThreadWork(const ConvInputs<T>& in, std::int64_t sequences) {
    const std::int64_t each = (in.steps + kTokens<T> - 1) / kTokens<T>;
    const std::int64_t stretch = static_cast<std::int64_t>(blockIdx.x) * kStretches + threadIdx.y;
    const auto four = static_cast<unsigned>(blockIdx.y) * kColumns + threadIdx.x;
    const auto fours = static_cast<unsigned>(in.channels / kFour);  // of a head
    live = stretch < sequences * each && four < fours * in.heads;
    sequence = stretch / each;
    begin = stretch % each * kTokens<T>;
    head = four / fours;
    c = static_cast<std::int64_t>(four % fours) * kFour;
    column = static_cast<std::int64_t>(four) * kFour;
  }
};

// The filter of 4 channels and the inputs it sees.
template <class T, int W>
struct Filter {
  using A = acc_t<T>;
  A weight[kFour][W], bias[kFour];

  __device__ Filter(const ConvInputs<T>& in, std::int64_t column) {
#pragma unroll
    for (int e = 0; e < kFour; ++e) {
      bias[e] = in.bias[column + e];
#pragma unroll
      for (int w = 0; w < W; ++w) weight[e][w] = in.weight[(column + e) * W + w];
    }
  }
  // p of channel e, where seen[0] ... seen[W-1] are the inputs of the last W tokens
  __device__ A operator()(const Four<T>* seen, int e) const {
    A p = bias[e];
#pragma unroll
    for (int w = 0; w < W; ++w) p += weight[e][w] * A(seen[w].values[e]);
    return p;
  }
};

template <class T, int W>
__global__ void __launch_bounds__(kColumns* kStretches)
    forward_kernel(ConvInputs<T> in, std::int64_t sequences, Rows<T> out) {
  using F = function_t<T>;
  constexpr int kLength = kTokens<T>;
  wait_for_previous();
  const ThreadWork<T> at(in, sequences);
  if (!at.live) return;
  const Filter<T, W> filter(in, at.column);
  Four<T> x[W - 1 + kLength];
#pragma unroll
  for (int i = 0; i < W - 1 + kLength; ++i) {
    const std::int64_t t = at.begin + i - (W - 1);
    x[i] = load(t < in.steps ? in.input_row(at.sequence, t, at.head) : nullptr, at.c);
  }
#pragma unroll
  for (int i = 0; i < kLength; ++i) {
    if (at.begin + i >= in.steps) break;
    Four<T> y;
#pragma unroll
    for (int e = 0; e < kFour; ++e) y.values[e] = static_cast<T>(acc_t<T>(functions::Silu::f(F(filter(x + i, e)))));
    *reinterpret_cast<Four<T>*>(out[in.row(at.sequence, at.begin + i, at.head)] + at.c) = y;
  }
}

// What a thread adds up for the gradients of its channels: of the taps, then of the bias.
template <class A, int W>
struct Sums {
  A of[kFour][W + 1] = {};
};

// partial[block, channel, W+1]: the sums of the block's stretches, in order.
template <class A, int W>
__device__ void join(const Sums<A, W>& own, std::int64_t channels, A* partial) {
  __shared__ A sums[kStretches][kColumns * kFour * (W + 1)];
#pragma unroll
  for (int e = 0; e < kFour; ++e) {
#pragma unroll
    for (int w = 0; w <= W; ++w) sums[threadIdx.y][(threadIdx.x * kFour + e) * (W + 1) + w] = own.of[e][w];
  }
  __syncthreads();
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.y) * kColumns * kFour * (W + 1);
  const std::int64_t width = channels * (W + 1);
  for (int i = static_cast<int>(threadIdx.y) * kColumns + static_cast<int>(threadIdx.x);
       i < kColumns * kFour * (W + 1) && first + i < width; i += kColumns * kStretches) {
    A sum = sums[0][i];
#pragma unroll
    for (int s = 1; s < kStretches; ++s) sum += sums[s][i];
    partial[blockIdx.x * width + first + i] = sum;
  }
}

template <class T, int W>
__global__ void __launch_bounds__(kColumns* kStretches)
    backward_kernel(ConvInputs<T> in, std::int64_t sequences, Rows<T> up, Target<T> dx, acc_t<T>* partial) {
  using A = acc_t<T>;
  using F = function_t<T>;
  constexpr int kLength = kTokens<T>;
  wait_for_previous();
  const ThreadWork<T> at(in, sequences);
  Sums<A, W> sums;
  if (at.live) {
    const Filter<T, W> filter(in, at.column);
    Four<T> x[kLength + 2 * (W - 1)];  // from token begin - (W - 1) on
    Four<T> g[kLength + W - 1];
#pragma unroll
    for (int i = 0; i < kLength + 2 * (W - 1); ++i) {
      const std::int64_t t = at.begin + i - (W - 1);
      x[i] = load(t < in.steps ? in.input_row(at.sequence, t, at.head) : nullptr, at.c);
    }
#pragma unroll
    for (int i = 0; i < kLength + W - 1; ++i) {
      const std::int64_t t = at.begin + i;
      g[i] = load(t < in.steps ? up[in.row(at.sequence, t, at.head)] : nullptr, at.c);
    }
    A dp[W][kFour] = {};  // of the last W tokens, the newest at W - 1
#pragma unroll
    for (int i = 0; i < kLength + W - 1; ++i) {
#pragma unroll
      for (int e = 0; e < kFour; ++e) {
#pragma unroll
        for (int w = 0; w + 1 < W; ++w) dp[w][e] = dp[w + 1][e];
        dp[W - 1][e] = A(g[i].values[e]) * A(functions::Silu::df(F(filter(x + i, e))));
        if (i < kLength) {
#pragma unroll
          for (int w = 0; w < W; ++w) sums.of[e][w] += dp[W - 1][e] * A(x[i + w].values[e]);
          sums.of[e][W] += dp[W - 1][e];
        }
      }
      if (i < W - 1 || !dx) continue;
      const std::int64_t t = at.begin + i - (W - 1);
      if (t >= in.steps) continue;
      T* to = dx.to[in.row(at.sequence, t, at.head)];
      Four<T> result = dx.add ? load<T>(to, at.c) : Four<T>{};
#pragma unroll
      for (int e = 0; e < kFour; ++e) {
        A sum = 0;
#pragma unroll
        for (int w = 0; w < W; ++w) sum += filter.weight[e][w] * dp[W - 1 - w][e];
        result.values[e] = static_cast<T>(dx.add ? A(result.values[e]) + sum : sum);
      }
      *reinterpret_cast<Four<T>*>(to + at.c) = result;
    }
  }
  if (partial != nullptr) join<A, W>(sums, in.heads * in.channels, partial);
}

// The gradients of taps and biases from their sums.
template <class A>
struct StoreParameters {
  A* weight;
  A* bias;
  bool add_weight, add_bias;
  std::int64_t width;  // W
  __device__ void operator()(std::int64_t column, A sum) const {
    const std::int64_t channel = column / (width + 1);
    const std::int64_t w = column % (width + 1);
    A* to = w == width ? bias : weight;
    if (to == nullptr) return;
    A& element = to[w == width ? channel : channel * width + w];
    element = (w == width ? add_bias : add_weight) ? element + sum : sum;
  }
};

template <class T>
bool takes(const ConvInputs<T>& in, std::initializer_list<const Tensor*> tensors) {
  constexpr std::size_t kAlignment = alignof(Four<T>);
  for (const Tensor* x : tensors) {
    if (!x->defined()) continue;
    if (reinterpret_cast<std::uintptr_t>(x->raw()) % kAlignment != 0 || x->row_stride() % kFour != 0) return false;
  }
  const std::int64_t columns = in.heads * in.channels / kFour;
  return in.width >= 2 && in.width <= 4 && in.channels % kFour == 0 && columns <= kMostColumnBlocks * kColumns;
}

// Calls f.template operator()<W>().
template <class F>
void with_taps(std::int64_t taps, const F& f) {
  switch (taps) {
    case 2: return f.template operator()<2>();
    case 3: return f.template operator()<3>();
    case 4: return f.template operator()<4>();
    default: break;
  }
  MIXGRAD_ASSERT(false, "2, 3 or 4 taps");
}

template <class T>
dim3 grid_of(const ConvInputs<T>& in) {
  const std::int64_t stretches = in.sequences() * ((in.steps + kTokens<T> - 1) / kTokens<T>);
  const std::int64_t columns = in.heads * in.channels / kFour;
  return {static_cast<unsigned>((stretches + kStretches - 1) / kStretches),
          static_cast<unsigned>((columns + kColumns - 1) / kColumns)};
}

template <class T>
void forward(const ConvInputs<T>& in, const Tensor& y) {
  with_taps(in.width, [&]<int W>() {
    launch("causal_conv", y.device(), grid_of(in), dim3(kColumns, kStretches), 0, forward_kernel<T, W>, in,
           in.sequences(), Rows<T>(y));
  });
}

template <class T>
void backward(const ConvInputs<T>& in, const Tensor& dy, const GradTarget& dx, const GradTarget& dweight,
              const GradTarget& dbias) {
  using A = acc_t<T>;
  const dim3 grid = grid_of(in);
  const std::int64_t columns = in.heads * in.channels * (in.width + 1);
  const bool wanted = dweight.tensor.defined() || dbias.tensor.defined();
  Tensor partial;
  if (wanted) partial = Tensor::empty({std::int64_t{grid.x}, columns}, dtype_of<A>(), dy.device());
  A* sums = wanted ? partial.data<A>() : nullptr;
  with_taps(in.width, [&]<int W>() {
    launch("causal_conv", dy.device(), grid, dim3(kColumns, kStretches), 0, backward_kernel<T, W>, in, in.sequences(),
           Rows<T>(dy), Target<T>(dx.tensor, dx.add), sums);
  });
  if (!wanted) return;
  join_partial_sums(
      "causal_conv", dy.device(), sums, std::int64_t{grid.x}, columns,
      StoreParameters<A>{dweight.tensor.defined() ? dweight.tensor.data<A>() : nullptr,
                         dbias.tensor.defined() ? dbias.tensor.data<A>() : nullptr, dweight.add, dbias.add, in.width});
}

}  // namespace mixgrad::cuda::stretches
