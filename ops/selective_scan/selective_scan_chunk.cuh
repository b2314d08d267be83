// Private to the implementations that keep states in registers: how a block divides its work, and a chunk of 16 tokens
// in shared memory.
//   A block has some channels of one sequence and head, a thread 4 of the N states of one channel (N = 4, 8 or 16), so
// that a channel has N / 4 threads, its parts. Lane = part G + channel of the warp, G = 32 / parts: neighbours read
// neighbouring channels.
//   Tokens behind the last and channels behind the last are zeros in shared memory, step included: a decay of 2^0 = 1
// and an input of 0 leave a state as it is, and a gradient of 0 adds nothing. So no loop asks for them.
#pragma once

#include <cfloat>

#include "core/cuda/hardware_float.cuh"
#include "ops/selective_scan/selective_scan_blocks.h"
#include "ops/selective_scan/selective_scan_rows.cuh"

namespace mixgrad::cuda::registers {

inline constexpr int kTokens = static_cast<int>(kScanChunk);
inline constexpr int kOwn = 4;  // states of a thread
template <int N>
inline constexpr int kParts = N / kOwn;
// Channels of a block. With 16 states fewer, so that its registers fill the multiprocessors evenly: 16 sequences of 6
// heads of 64 channels are 192 blocks of 32 channels, two on some multiprocessors and one on others.
constexpr std::int64_t channels_of(std::int64_t states) {
  return states == 16 ? kScanCudaFewChannels : kScanCudaChannels;
}
template <int N>
inline constexpr int kChannels = static_cast<int>(channels_of(N));
template <int N>
inline constexpr int kThreadsOf = kChannels<N>* kParts<N>;
template <int N>
inline constexpr int kWarpsOf = kThreadsOf<N> / kWarp;
template <int N>
inline constexpr int kWarpChannels = kWarp / kParts<N>;  // G

inline constexpr double kLog2E = 1.44269504088896340736;
inline constexpr double kLn2 = 0.69314718055994530942;

template <int N>
struct ThreadIndex {
  int warp = static_cast<int>(threadIdx.x) / kWarp;
  int lane = static_cast<int>(threadIdx.x) % kWarp;
  int part = lane / kWarpChannels<N>;
  int channel = warp * kWarpChannels<N> + lane % kWarpChannels<N>;  // of the block
  int state = part * kOwn;                                          // the first of the thread's
};

// Which part of the work a block has: segment by segment, group of channels by group, head by head.
struct BlockWork {
  std::int64_t segment, group, head, sequence;

  __device__ BlockWork(std::int64_t segments, std::int64_t groups, std::int64_t heads) {
    std::int64_t item = blockIdx.x;
    segment = item % segments;
    item /= segments;
    group = item % groups;
    item /= groups;
    head = item % heads;
    sequence = item / heads;
  }
};

// The thread's own numbers of a row of N.
template <class A>
struct alignas(16) Own {
  A of[kOwn];
};

// 2^x for x <= 0, NaN for NaN; in f32 as the CPU's (ops/support/lanes.h): 2^r = 1 + r q(r) by a polynomial, so that a
// decay near one is exact to rounding, and what is below 2^-125 is 2^-125. Not ex2.approx: its error of 2^-22 near one
// would add up over the tokens that a slow state remembers, and its unit takes a quarter as many instructions.
__device__ inline float exp2_nonpositive(float x) {
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  x = x < -125.0F ? -125.0F : x;
  const float shifted = x + kRound;
  const float r = x - (shifted - kRound);
  float p = 1.3264727e-3F;
  p = p * r + 9.6715130e-3F;
  p = p * r + 5.5507336e-2F;
  p = p * r + 2.4022242e-1F;
  p = p * r + 6.9314700e-1F;
  p = p * r + 1.0F;
  return p * __int_as_float((__float_as_int(shifted) << 23) + 0x3f800000);  // adding to p's exponent would lose NaN
}
__device__ inline double exp2_nonpositive(double x) { return exp2(x); }

// The decay 2^exponent. Values of bf16 have 8 bits, so there the hardware's exponential (relative error 2^-22, as
// mamba_step has it) is exact enough: a state that remembers 10,000 tokens is 2e-3 off at worst. It takes one
// instruction where the polynomial takes 12.
template <class T>
__device__ acc_t<T> decay_of(acc_t<T> exponent) {
  if constexpr (std::is_same_v<T, bf16>) {
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(exponent));
    return result;
  } else {
    return exp2_nonpositive(exponent);
  }
}

// A log2(e), kept finite, so that a step of zero gives a decay of one.
template <class T>
__device__ acc_t<T> rate2(const ScanRows<T>& in, std::int64_t head, std::int64_t ch, std::int64_t n) {
  using A = acc_t<T>;
  constexpr A kLowest = std::is_same_v<A, double> ? A(-DBL_MAX) : A(-FLT_MAX);
  const A rate = in.rate(head, ch, n) * A(kLog2E);
  return rate < kLowest ? kLowest : rate;  // NaN stays NaN
}

template <class A, int N>
struct ChunkMemory {
  A x[kTokens][kChannels<N>];
  A step[kTokens][kChannels<N>];
  alignas(16) A b[kTokens][N];
  alignas(16) A c[kTokens][N];
};

template <class A>
__device__ Own<A> own(const A* row, int state) {
  return *reinterpret_cast<const Own<A>*>(row + state);
}

// A thread's share of a chunk on its way from device to shared memory: read while the chunk before is worked on. It is
// always the same kEach elements, neighbouring threads at neighbouring channels; the thread may also write them after
// the block has met, without meeting again.
template <class T, int N>
struct ChunkLoad {
  using A = acc_t<T>;
  static constexpr int kEach = kTokens * kChannels<N> / kThreadsOf<N>;
  static constexpr int kPairs = kTokens * N / kThreadsOf<N>;

  T x[kEach], dt[kEach], b[kPairs], c[kPairs];

  // f(i, token of the chunk, channel of the block) for the thread's elements
  template <class F>
  __device__ static void for_elements(const F& f) {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int e = static_cast<int>(threadIdx.x) + i * kThreadsOf<N>;
      f(i, e / kChannels<N>, e % kChannels<N>);
    }
  }

  // `first` is the row of the chunk's first token, `left` the tokens from there on, `width` the channels from
  // `channel` on.
  __device__ void fetch(const ScanRows<T>& in, std::int64_t first, std::int64_t left, std::int64_t channel,
                        std::int64_t width) {
    for_elements([&](int i, int k, int ch) {
      const bool live = k < left && ch < width;
      const std::int64_t r = first + k * in.heads;
      x[i] = live ? in.x[r][channel + ch] : T();
      dt[i] = live ? in.dt[r][channel + ch] : T();
    });
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int e = static_cast<int>(threadIdx.x) + i * kThreadsOf<N>;
      const bool live = e / N < left;
      const std::int64_t r = first + e / N * in.heads;
      b[i] = live ? in.b[r][e % N] : T();
      c[i] = live ? in.c[r][e % N] : T();
    }
  }

  __device__ void put(ChunkMemory<A, N>& to, std::int64_t left, std::int64_t width) const {
    for_elements([&](int i, int k, int ch) {
      to.x[k][ch] = A(x[i]);
      to.step[k][ch] = k < left && ch < width ? A(functions::Softplus::f(function_t<T>(A(dt[i])))) : A(0);
    });
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int e = static_cast<int>(threadIdx.x) + i * kThreadsOf<N>;
      to.b[e / N][e % N] = A(b[i]);
      to.c[e / N][e % N] = A(c[i]);
    }
  }
};

// Sums over the lanes whose numbers differ in the bits kHigh, kHigh / 2, ..., kLow, in a fixed order. In each exchange
// a lane keeps half of its kCount values, the upper half where its bit is set, and gets its partner's: 7 shuffles
// instead of 24 for 8 values over 8 lanes. When one value is left, the lanes of the remaining bits all get its sum.
//   So the lane with the bits p (kHigh first) has in v[i] the sum of value p kCount / lanes + i.
template <int kCount, int kHigh, int kLow, class A>
__device__ void fold(A* v) {
  if constexpr (kHigh >= kLow && kCount > 1) {
    constexpr int kHalf = kCount / 2;
    const bool upper = (threadIdx.x & kHigh) != 0;
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      const A gives = upper ? v[i] : v[i + kHalf];
      const A keeps = upper ? v[i + kHalf] : v[i];
      v[i] = keeps + __shfl_xor_sync(0xffffffffU, gives, kHigh);
    }
    fold<kHalf, kHigh / 2, kLow>(v);
  } else if constexpr (kHigh >= kLow) {
    v[0] += __shfl_xor_sync(0xffffffffU, v[0], kHigh);
    fold<1, kHigh / 2, kLow>(v);
  }
}

// Calls f.template operator()<N>().
template <class F>
void with_states(std::int64_t states, const F& f) {
  switch (states) {
    case 4: return f.template operator()<4>();
    case 8: return f.template operator()<8>();
    case 16: return f.template operator()<16>();
    default: break;
  }
  MIXGRAD_ASSERT(false, "4, 8 or 16 states");
}

inline bool takes_states(std::int64_t states) { return states == 4 || states == 8 || states == 16; }
inline std::int64_t groups_of(std::int64_t channels, std::int64_t states) {
  const std::int64_t each = channels_of(states);
  return (channels + each - 1) / each;
}

}  // namespace mixgrad::cuda::registers
