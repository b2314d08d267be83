// The registers implementation, forward: a thread walks through time with 4 states of a channel in registers, through
// chunks of 16 tokens that the block has read into shared memory together. One chunk is read while another is worked
// on.
#pragma once

#include "ops/selective_scan/selective_scan_chunk.cuh"

namespace mixgrad::cuda::registers {

// What a stretch of tokens makes of a state: s -> decay s + input.
template <class A>
struct alignas(2 * sizeof(A)) Stretch {
  A decay, input;
};

// Each block goes through one of `segments` stretches of `length` tokens (a multiple of 16).
template <class T>
struct Forward {
  using A = acc_t<T>;

  ScanRows<T> in;
  std::int64_t groups, segments, length;
  Rows<T> out;
  const A* start;         // [B,segments,R,N,C], or null: zeros
  A* end;                 // [B,R,N,C], or null: not wanted. May be `start`, of one segment
  A* saved;               // [B,ceil(T/16),R,N,C], or null
  Stretch<A>* stretches;  // [B,R,N,C,segments]: of stretches_kernel
};

// s[n] = 2^(step rate[n]) s[n] + step x b[n]
template <class T, class A = acc_t<T>>
__device__ void advance(A (&s)[kOwn], const A (&rate)[kOwn], A step, A x, const Own<A>& b) {
  const A drive = step * x;
#pragma unroll
  for (int j = 0; j < kOwn; ++j) s[j] = decay_of<T>(step * rate[j]) * s[j] + drive * b.of[j];
}

template <class T, int N>
__global__ void __launch_bounds__(kThreadsOf<N>) forward_kernel(const Forward<T> f) {
  using A = acc_t<T>;
  __shared__ ChunkMemory<A, N> memory;
  const ThreadIndex<N> at{};
  const BlockWork work(f.segments, f.groups, f.in.heads);
  const std::int64_t first_channel = work.group * kChannels<N>;
  const std::int64_t width = f.in.channels - first_channel;
  const std::int64_t ch = first_channel + at.channel;
  const bool live = at.channel < width;
  const std::int64_t size = N * f.in.channels;
  const std::int64_t mine = at.state * f.in.channels + ch;  // of [N,C]; the next state is C further
  const A* start = f.start == nullptr
                       ? nullptr
                       : f.start + ((work.sequence * f.segments + work.segment) * f.in.heads + work.head) * size;
  A rate[kOwn], s[kOwn];
#pragma unroll
  for (int j = 0; j < kOwn; ++j) {
    rate[j] = live ? rate2(f.in, work.head, ch, at.state + j) : A(0);
    s[j] = live && start != nullptr ? start[mine + j * f.in.channels] : A(0);
  }
  const A skip = live ? A(f.in.d[work.head * f.in.channels + ch]) : A(0);
  const std::int64_t begin = work.segment * f.length;
  const std::int64_t end = begin + f.length < f.in.steps ? begin + f.length : f.in.steps;
  const std::int64_t chunks = (f.in.steps + kTokens - 1) / kTokens;
  ChunkLoad<T, N> load;
  load.fetch(f.in, f.in.row(work.sequence, begin, work.head), end - begin, first_channel, width);
  for (std::int64_t t = begin; t < end; t += kTokens) {
    const std::int64_t first = f.in.row(work.sequence, t, work.head);
    load.put(memory, end - t, width);
    __syncthreads();
    if (t + kTokens < end) {
      load.fetch(f.in, first + kTokens * f.in.heads, end - t - kTokens, first_channel, width);
    }
    if (f.saved != nullptr && live) {
      A* to = f.saved + ((work.sequence * chunks + t / kTokens) * f.in.heads + work.head) * size + mine;
#pragma unroll
      for (int j = 0; j < kOwn; ++j) to[j * f.in.channels] = s[j];
    }
    A y[kTokens];
#pragma unroll
    for (int k = 0; k < kTokens; ++k) {
      advance<T>(s, rate, memory.step[k][at.channel], memory.x[k][at.channel], own(memory.b[k], at.state));
      const Own<A> c = own(memory.c[k], at.state);
      y[k] = 0;
#pragma unroll
      for (int j = 0; j < kOwn; ++j) y[k] += c.of[j] * s[j];
    }
    fold<kTokens, kWarp / 2, kWarpChannels<N>>(y);
    __syncwarp();  // x of these channels is read by this warp alone, and no longer
    constexpr int kKept = kTokens / kParts<N>;
#pragma unroll
    for (int i = 0; i < kKept; ++i) {
      A& element = memory.x[at.part * kKept + i][at.channel];
      element = y[i] + skip * element;
    }
    __syncthreads();
    load.for_elements([&](int, int k, int channel) {
      if (t + k < end && channel < width) {
        f.out[first + k * f.in.heads][first_channel + channel] = static_cast<T>(memory.x[k][channel]);
      }
    });
  }
  if (f.end == nullptr || !live || work.segment + 1 < f.segments) return;
  A* to = f.end + (work.sequence * f.in.heads + work.head) * size + mine;
#pragma unroll
  for (int j = 0; j < kOwn; ++j) to[j * f.in.channels] = s[j];
}

template <class T, int N>
void launch_forward(const Forward<T>& f, Device device) {
  const dim3 grid(static_cast<unsigned>(f.in.sequences * f.in.heads * f.groups * f.segments));
  forward_kernel<T, N><<<grid, kThreadsOf<N>, 0, stream(device)>>>(f);
  check_launch("selective_scan", grid, kThreadsOf<N>);
}

template <class T>
void forward(const ScanInputs& inputs, const Tensor& state, const Tensor& saved, const Tensor& y) {
  using A = acc_t<T>;
  const ScanRows<T> in(inputs);
  A* states = state.defined() ? state.data<A>() : nullptr;
  const std::int64_t whole = (in.steps + kTokens - 1) / kTokens * kTokens;
  const Forward<T> f{in,     groups_of(in.channels, in.states),           1,      whole, Rows<T>(y), states,
                     states, saved.defined() ? saved.data<A>() : nullptr, nullptr};
  with_states(in.states, [&]<int N>() { launch_forward<T, N>(f, y.device()); });
}

}  // namespace mixgrad::cuda::registers
