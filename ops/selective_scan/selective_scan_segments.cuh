// The segments implementation, forward, for few channels and many tokens: the sequence is cut into segments of 64
// tokens that run side by side on the registers implementation, twice.
//   1. What each segment makes of a state, s -> decay s + input: its states from zero on, and its decays' product.
//   2. A scan over the segments of each state (CUB): the state before each segment.
//   3. The segments once more, from there on: y, the saved states, and the last state.
// Twice the work on many times the multiprocessors.
#pragma once

#include <cub/block/block_scan.cuh>

#include "ops/selective_scan/selective_scan_blocks.h"
#include "ops/selective_scan/selective_scan_registers.cuh"

namespace mixgrad::cuda::segments {

using registers::Forward;
using registers::Stretch;

inline constexpr std::int64_t kLength = kScanSegmentTokens;
inline constexpr int kScanThreads = 64;
static_assert(kLength % kScanChunk == 0);

// First one stretch of tokens, then another: associative.
struct Then {
  template <class A>
  __device__ Stretch<A> operator()(const Stretch<A>& first, const Stretch<A>& second) const {
    return {second.decay * first.decay, second.decay * first.input + second.input};
  }
};

// Step 1. The product of the decays is one power of the sum of the steps.
template <class T, int N>
__global__ void __launch_bounds__(registers::kThreadsOf<N>) stretches_kernel(const Forward<T> f) {
  using A = acc_t<T>;
  using registers::kOwn;
  using registers::kTokens;
  __shared__ registers::ChunkMemory<A, N> memory;
  const registers::ThreadIndex<N> at{};
  const registers::BlockWork work(f.segments, f.groups, f.in.heads);
  const std::int64_t first_channel = work.group * registers::kChannels<N>;
  const std::int64_t width = f.in.channels - first_channel;
  const std::int64_t ch = first_channel + at.channel;
  const bool live = at.channel < width;
  A rate[kOwn], s[kOwn];
#pragma unroll
  for (int j = 0; j < kOwn; ++j) {
    rate[j] = live ? registers::rate2(f.in, work.head, ch, at.state + j) : A(0);
    s[j] = 0;
  }
  A steps = 0;
  const std::int64_t begin = work.segment * f.length;
  const std::int64_t end = begin + f.length < f.in.steps ? begin + f.length : f.in.steps;
  registers::ChunkLoad<T, N> load;
  load.fetch(f.in, f.in.row(work.sequence, begin, work.head), end - begin, first_channel, width);
  for (std::int64_t t = begin; t < end; t += kTokens) {
    load.put(memory, end - t, width);
    __syncthreads();
    if (t + kTokens < end) {
      const std::int64_t next = f.in.row(work.sequence, t + kTokens, work.head);
      load.fetch(f.in, next, end - t - kTokens, first_channel, width);
    }
#pragma unroll
    for (int k = 0; k < kTokens; ++k) {
      const A step = memory.step[k][at.channel];
      steps += step;
      registers::advance<T>(s, rate, step, memory.x[k][at.channel], registers::own(memory.b[k], at.state));
    }
    __syncthreads();
  }
  if (!live) return;
  const std::int64_t state = (work.sequence * f.in.heads + work.head) * N + at.state;
#pragma unroll
  for (int j = 0; j < kOwn; ++j) {
    f.stretches[((state + j) * f.in.channels + ch) * f.segments + work.segment] = {
        registers::exp2_nonpositive(steps * rate[j]), s[j]};
  }
}

// Step 2. A block for each state: `starts` [B,segments,R,N,C] from `state` [B,R,N,C] (null: zeros). size = N C.
template <class A>
__global__ void __launch_bounds__(kScanThreads)
    starts_kernel(std::int64_t segments, std::int64_t heads, std::int64_t size, const Stretch<A>* stretches,
                  const A* state, A* starts) {
  using Scan = cub::BlockScan<Stretch<A>, kScanThreads>;
  __shared__ typename Scan::TempStorage memory;
  const std::int64_t item = blockIdx.x;
  const std::int64_t sequence = item / (heads * size);
  const std::int64_t column = item % (heads * size);  // of [R,N,C]
  const Stretch<A> nothing{A(1), A(0)};
  A carried = state == nullptr ? A(0) : state[item];
  for (std::int64_t first = 0; first < segments; first += kScanThreads) {
    const std::int64_t segment = first + threadIdx.x;
    const Stretch<A> own = segment < segments ? stretches[item * segments + segment] : nothing;
    Stretch<A> before, all;
    Scan(memory).ExclusiveScan(own, before, nothing, Then(), all);
    if (segment < segments) {
      starts[(sequence * segments + segment) * heads * size + column] = before.decay * carried + before.input;
    }
    carried = all.decay * carried + all.input;
    __syncthreads();  // the next scan uses the memory again
  }
}

template <class T, int N>
void launch_stretches(const Forward<T>& f, Device device) {
  const dim3 grid(static_cast<unsigned>(f.in.sequences * f.in.heads * f.groups * f.segments));
  stretches_kernel<T, N><<<grid, registers::kThreadsOf<N>, 0, stream(device)>>>(f);
  check_launch("selective_scan", grid, registers::kThreadsOf<N>);
}

template <class T>
void forward(const ScanInputs& inputs, const Tensor& state, const Tensor& saved, const Tensor& y) {
  using A = acc_t<T>;
  const ScanRows<T> in(inputs);
  const Device device = y.device();
  const std::int64_t segments = (in.steps + kLength - 1) / kLength;
  const std::int64_t states = in.sequences * in.heads * in.states * in.channels;
  const Tensor stretches = Tensor::empty({states, segments, 2}, dtype_of<A>(), device);
  const Tensor starts =
      Tensor::empty({in.sequences, segments, in.heads, in.states, in.channels}, dtype_of<A>(), device);
  auto* stretch = reinterpret_cast<Stretch<A>*>(stretches.data<A>());
  A* given = state.defined() ? state.data<A>() : nullptr;
  A* start = starts.data<A>();
  const Forward<T> f{in,    registers::groups_of(in.channels, in.states), segments, kLength, Rows<T>(y), start,
                     given, saved.defined() ? saved.data<A>() : nullptr,  stretch};
  registers::with_states(in.states, [&]<int N>() { launch_stretches<T, N>(f, device); });
  const dim3 grid(static_cast<unsigned>(states));
  starts_kernel<A>
      <<<grid, kScanThreads, 0, stream(device)>>>(segments, in.heads, in.states * in.channels, stretch, given, start);
  check_launch("selective_scan", grid, kScanThreads);
  registers::with_states(in.states, [&]<int N>() { registers::launch_forward<T, N>(f, device); });
}

}  // namespace mixgrad::cuda::segments
