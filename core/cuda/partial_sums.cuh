// The second half of a sum over rows: partial sums of blocks of rows, joined in a fixed order.
#pragma once

#include "core/cuda/launch.cuh"

namespace mixgrad::cuda {

inline constexpr int kJoinThreads = 1024;
inline constexpr int kJoinGroups = kJoinThreads / kWarp;

// 32 columns a block; a thread adds up every 32nd partial sum of its column, and these are joined in order.
template <class A, class Store>
__global__ void __launch_bounds__(kJoinThreads)
    join_partial_sums_kernel(const A* partial, std::int64_t blocks, std::int64_t width, Store store) {
  __shared__ A sums_of_groups[kJoinGroups][kWarp];
  wait_for_previous();
  const auto lane = static_cast<int>(threadIdx.x) % kWarp;
  const auto group = static_cast<int>(threadIdx.x) / kWarp;
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * kWarp + lane;
  A sum = 0;
#pragma unroll 8
  for (std::int64_t b = group; b < blocks; b += kJoinGroups) sum += c < width ? partial[b * width + c] : A(0);
  sums_of_groups[group][lane] = sum;
  __syncthreads();
  if (group != 0 || c >= width) return;
  for (int g = 1; g < kJoinGroups; ++g) sum += sums_of_groups[g][lane];
  store(c, sum);
}

// store(c, sum over blocks of partial[block, c]) for c in [0, width); partial: [blocks, width].
template <class A, class Store>
void join_partial_sums(const char* op, Device device, const A* partial, std::int64_t blocks, std::int64_t width,
                       const Store& store) {
  if (width <= 0) return;
  launch(op, device, static_cast<unsigned>((width + kWarp - 1) / kWarp), kJoinThreads, 0,
         join_partial_sums_kernel<A, Store>, partial, blocks, width, store);
}

// The store that writes a gradient, or adds to it.
template <class A>
struct StoreGradient {
  A* to;
  bool add;
  __device__ void operator()(std::int64_t c, A sum) const { to[c] = add ? to[c] + sum : sum; }
};

}  // namespace mixgrad::cuda
