// The registers implementation, backward: chunk by chunk from the last to the first, the 16 states of each are computed
// again from the saved one and kept in registers with their decays, then walked back. dB and dC sum over the channels
// of a warp by exchanges between its lanes, then over the warps of a block and, where a head has more channels than a
// block, over its blocks, each in order.
#pragma once

#include "ops/selective_scan/selective_scan_chunk.cuh"

namespace mixgrad::cuda::registers {

template <class T>
struct Backward {
  using A = acc_t<T>;

  ScanRows<T> in;
  std::int64_t groups;
  Rows<T> up;
  const A* saved;
  A* parameters;  // [B,R,N C + C]: sums of da_log as [N,C], then of dd
  A* partial;     // [groups, B T R, 2N]: sums of dB, then of dC; null where a head is one block
  Target<T> dx, ddt, db, dc;
};

template <class A, int N>
struct BackwardMemory {
  ChunkMemory<A, N> chunk;
  A g[kTokens][kChannels<N>];
  A dbc[kWarpsOf<N>][kTokens][2 * N];  // of each warp
};

// What the thread keeps from chunk to chunk: A log2(e), a_{t+1} L_{t+1}, and the sums of step L a s and of g x.
template <class A>
struct CarriedGradient {
  A rate[kOwn], carry[kOwn], drate[kOwn];
  A skip, dd;
};

// The thread's states before each token of a chunk, and behind the last, and their decays.
template <class A>
struct ChunkStates {
  A s[kTokens + 1][kOwn];
  A decay[kTokens][kOwn];
};

template <class T, class A, int N>
__device__ void recompute(const ChunkMemory<A, N>& memory, const ThreadIndex<N>& at, const CarriedGradient<A>& carried,
                          ChunkStates<A>& states) {
#pragma unroll
  for (int k = 0; k < kTokens; ++k) {
    const A step = memory.step[k][at.channel];
    const A drive = step * memory.x[k][at.channel];
    const Own<A> b = own(memory.b[k], at.state);
#pragma unroll
    for (int j = 0; j < kOwn; ++j) {
      states.decay[k][j] = decay_of<T>(step * carried.rate[j]);
      states.s[k + 1][j] = states.decay[k][j] * states.s[k][j] + drive * b.of[j];
    }
  }
}

// Back through a chunk. Overwrites x with the gradient of the step, g with the gradient of x, and in dbc the
// sums over the channels of the warp.
template <class A, int N>
__device__ void chunk_backward(BackwardMemory<A, N>& memory, const ThreadIndex<N>& at, const ChunkStates<A>& states,
                               CarriedGradient<A>& carried) {
  A ddrive[kTokens];  // sum_n L B
  A dstep[kTokens];   // sum_n L A log2(e) a s
  A dbc[kTokens];
#pragma unroll
  for (int k = kTokens - 1; k >= 0; --k) {
    const A g = memory.g[k][at.channel];
    const A x = memory.chunk.x[k][at.channel];
    const A step = memory.chunk.step[k][at.channel];
    const A drive = step * x;
    const Own<A> b = own(memory.chunk.b[k], at.state);
    const Own<A> c = own(memory.chunk.c[k], at.state);
    A sums[2 * kOwn];
    ddrive[k] = 0;
    dstep[k] = 0;
    carried.dd += g * x;
#pragma unroll
    for (int j = 0; j < kOwn; ++j) {
      const A l = g * c.of[j] + carried.carry[j];
      const A al = states.decay[k][j] * l;
      const A als = al * states.s[k][j];
      sums[j] = l * drive;
      sums[kOwn + j] = g * states.s[k + 1][j];
      ddrive[k] += l * b.of[j];
      dstep[k] += carried.rate[j] * als;
      carried.drate[j] += step * als;
      carried.carry[j] = al;
    }
    fold<2 * kOwn, kWarpChannels<N> / 2, 1>(sums);
    dbc[k] = sums[0];
  }
  fold<kTokens, kWarp / 2, kWarpChannels<N>>(ddrive);
  fold<kTokens, kWarp / 2, kWarpChannels<N>>(dstep);
  __syncwarp();  // x and g of these channels are read by this warp alone, and no longer
  constexpr int kKept = kTokens / kParts<N>;
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const int k = at.part * kKept + i;
    A& x = memory.chunk.x[k][at.channel];
    A& g = memory.g[k][at.channel];
    x = x * ddrive[i] + A(kLn2) * dstep[i];
    g = carried.skip * g + memory.chunk.step[k][at.channel] * ddrive[i];
  }
  constexpr int kSame = kWarpChannels<N> / (2 * kOwn);  // lanes with the same sum
  const int index = at.lane % kWarpChannels<N> / kSame;
  if (at.lane % kSame != 0) return;
  const int column = index < kOwn ? at.state + index : N + at.state + index - kOwn;
#pragma unroll
  for (int k = 0; k < kTokens; ++k) memory.dbc[at.warp][k][column] = dbc[k];
}

template <class T, int N>
__global__ void __launch_bounds__(kThreadsOf<N>) backward_kernel(const Backward<T> f) {
  using A = acc_t<T>;
  using Load = ChunkLoad<T, N>;
  __shared__ BackwardMemory<A, N> memory;
  const ThreadIndex<N> at{};
  const BlockWork work(1, f.groups, f.in.heads);
  const std::int64_t first_channel = work.group * kChannels<N>;
  const std::int64_t width = f.in.channels - first_channel;
  const std::int64_t ch = first_channel + at.channel;
  const bool live = at.channel < width;
  const std::int64_t size = N * f.in.channels;
  const std::int64_t mine = at.state * f.in.channels + ch;  // of [N,C]; the next state is C further
  const std::int64_t chunks = (f.in.steps + kTokens - 1) / kTokens;
  CarriedGradient<A> carried{};
#pragma unroll
  for (int j = 0; j < kOwn; ++j) carried.rate[j] = live ? rate2(f.in, work.head, ch, at.state + j) : A(0);
  carried.skip = live ? A(f.in.d[work.head * f.in.channels + ch]) : A(0);

  Load load;
  T up[Load::kEach];
  A start[kOwn];
  const auto fetch = [&](std::int64_t chunk) {
    const std::int64_t left = f.in.steps - chunk * kTokens;
    const std::int64_t first = f.in.row(work.sequence, chunk * kTokens, work.head);
    load.fetch(f.in, first, left, first_channel, width);
    Load::for_elements([&](int i, int k, int channel) {
      up[i] = k < left && channel < width ? f.up[first + k * f.in.heads][first_channel + channel] : T();
    });
    const A* from = f.saved + ((work.sequence * chunks + chunk) * f.in.heads + work.head) * size + mine;
#pragma unroll
    for (int j = 0; j < kOwn; ++j) start[j] = live ? from[j * f.in.channels] : A(0);
  };
  fetch(chunks - 1);
  for (std::int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
    const std::int64_t left = f.in.steps - chunk * kTokens;
    const std::int64_t first = f.in.row(work.sequence, chunk * kTokens, work.head);
    A slope[Load::kEach];  // softplus'
    ChunkStates<A> states;
    load.put(memory.chunk, left, width);
    Load::for_elements([&](int i, int k, int channel) {
      memory.g[k][channel] = A(up[i]);
      slope[i] = A(functions::Softplus::df(function_t<T>(A(load.dt[i]))));
    });
#pragma unroll
    for (int j = 0; j < kOwn; ++j) states.s[0][j] = start[j];
    __syncthreads();
    if (chunk > 0) fetch(chunk - 1);
    recompute<T>(memory.chunk, at, carried, states);
    chunk_backward(memory, at, states, carried);
    __syncthreads();
    Load::for_elements([&](int i, int k, int channel) {
      if (k >= left || channel >= width) return;
      const std::int64_t r = first + k * f.in.heads;
      if (f.dx) f.dx.put(r, first_channel + channel, memory.g[k][channel]);
      if (f.ddt) f.ddt.put(r, first_channel + channel, memory.chunk.x[k][channel] * slope[i]);
    });
#pragma unroll
    for (int e = static_cast<int>(threadIdx.x); e < kTokens * 2 * N; e += kThreadsOf<N>) {
      const int k = e / (2 * N);
      const int column = e % (2 * N);
      if (k >= left) continue;
      const std::int64_t r = first + k * f.in.heads;
      A sum = memory.dbc[0][k][column];
#pragma unroll
      for (int w = 1; w < kWarpsOf<N>; ++w) sum += memory.dbc[w][k][column];
      if (f.partial != nullptr) {
        f.partial[(work.group * f.up.count + r) * 2 * N + column] = sum;
      } else if (column < N) {
        if (f.db) f.db.put(r, column, sum);
      } else if (f.dc) {
        f.dc.put(r, column - N, sum);
      }
    }
  }
  if (!live) return;
  A* to = f.parameters + (work.sequence * f.in.heads + work.head) * (size + f.in.channels);
#pragma unroll
  for (int j = 0; j < kOwn; ++j) {
    to[mine + j * f.in.channels] = carried.drate[j] * carried.rate[j] * A(kLn2);
  }
  if (at.part == 0) to[size + ch] = carried.dd;
}

// dB and dC of heads with several blocks: their sums, in order.
template <class T>
void sum_groups(const Backward<T>& f, Device device) {
  using A = acc_t<T>;
  const std::int64_t rows = f.up.count;
  const std::int64_t states = f.in.states;
  const std::int64_t groups = f.groups;
  const A* partial = f.partial;
  const Target<T> db = f.db;
  const Target<T> dc = f.dc;
  for_each_cell("selective_scan", device, rows, 2 * states, [=] __device__(std::int64_t r, std::int64_t column) {
    A sum = 0;
    for (std::int64_t g = 0; g < groups; ++g) sum += partial[(g * rows + r) * 2 * states + column];
    if (column < states) {
      if (db) db.put(r, column, sum);
    } else if (dc) {
      dc.put(r, column - states, sum);
    }
  });
}

template <class T, int N>
void launch_backward(const Backward<T>& f, Device device) {
  const dim3 grid(static_cast<unsigned>(f.in.sequences * f.in.heads * f.groups));
  backward_kernel<T, N><<<grid, kThreadsOf<N>, 0, stream(device)>>>(f);
  check_launch("selective_scan", grid, kThreadsOf<N>);
}

template <class T>
void backward(const ScanInputs& inputs, const Tensor& saved, const Tensor& dy, const ScanTargets& out) {
  using A = acc_t<T>;
  const ScanRows<T> in(inputs);
  const Rows<T> up(dy);
  const std::int64_t groups = groups_of(in.channels, in.states);
  const std::int64_t pitch = (in.states + 1) * in.channels;
  const Tensor parameters = Tensor::empty({in.sequences * in.heads, pitch}, dtype_of<A>(), dy.device());
  const bool sums_later = groups > 1 && (out.b.tensor.defined() || out.c.tensor.defined());
  Tensor partial;
  if (sums_later) partial = Tensor::empty({groups, up.count, 2 * in.states}, dtype_of<A>(), dy.device());
  // With several blocks a head, none may write db or dc itself.
  const Target<T> db(out.b.tensor, out.b.add);
  const Target<T> dc(out.c.tensor, out.c.add);
  const Backward<T> f{in,
                      groups,
                      up,
                      saved.data<A>(),
                      parameters.data<A>(),
                      sums_later ? partial.data<A>() : nullptr,
                      Target<T>(out.x.tensor, out.x.add),
                      Target<T>(out.dt.tensor, out.dt.add),
                      db,
                      dc};
  with_states(in.states, [&]<int N>() { launch_backward<T, N>(f, dy.device()); });
  if (sums_later) sum_groups(f, dy.device());
  parameter_sums<T>(in, parameters.data<A>(), pitch, dy.device(), out);
}

}  // namespace mixgrad::cuda::registers
