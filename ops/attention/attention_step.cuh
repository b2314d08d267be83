// Decoding with a block for each head: one query against the keys of a cache, in chunks of kStepThreads keys. A thread
// scores a key; then each warp adds up the values of every kStepWarps-th key, its lanes side by side over the channels;
// at the end the sums of the warps are added in order. Which thread works on a key depends on the key's row alone.
// For heads whose rows are not whole chunks of 16 bytes; the others are cut into pieces (attention_split.cuh).
#pragma once

#include "core/numeric/vec_math.h"
#include "ops/attention/attention_naive.cuh"
#include "ops/attention/attention_sizes.cuh"

namespace mixgrad::cuda::step {

constexpr int kStepThreads = 256;
constexpr int kStepWarps = kStepThreads / kWarp;

// Of a block: the query, the weights of a chunk, a value and the sums of the values of each warp.
template <class A>
std::size_t shared_bytes(const AttentionSizes& s) {
  return static_cast<std::size_t>((1 + kStepWarps) * s.head_dim + kStepThreads + kStepWarps) * sizeof(A);
}

// One value per thread, joined in a fixed tree; every thread gets the result. Shared memory written before is visible
// after it.
template <class Join, class A>
__device__ A join(A value, A* of_warps) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = Join::join(value, __shfl_xor_sync(0xffffffffU, value, distance));
  }
  if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = value;
  __syncthreads();
  A all = of_warps[0];
#pragma unroll
  for (int w = 1; w < kStepWarps; ++w) all = Join::join(all, of_warps[w]);
  __syncthreads();  // the next call may write
  return all;
}

// As naive::dot, 16 bytes of b at a time.
template <class A, class T>
__device__ A dot_of_chunks(const A* a, const T* b, int width) {
  A sum = 0;
#pragma unroll 4
  for (int c = 0; c < width; c += Chunk<T>::kSize) {
    const Chunk<T> chunk = *reinterpret_cast<const Chunk<T>*>(b + c);
#pragma unroll
    for (int i = 0; i < Chunk<T>::kSize; ++i) sum += a[c + i] * A(chunk.values[i]);
  }
  return sum;
}

// out of head blockIdx.x = (b, head); s is that of a full cache. kChunks: keys can be read 16 bytes at a time.
template <class T, class A, bool kChunks>
__global__ void __launch_bounds__(kStepThreads)
    kernel(AttentionSizes s, TokenPosition position, HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v,
           HeadRows<T> out, A scale) {
  const std::int64_t head = blockIdx.x % s.heads;
  const std::int64_t b = blockIdx.x / s.heads;
  const std::int64_t group = head / (s.heads / s.kv_heads);
  const auto dh = static_cast<int>(s.head_dim);
  const auto thread = static_cast<int>(threadIdx.x);
  const int warp = thread / kWarp;
  const int lane = thread % kWarp;
  A* query = shared<A>();
  A* weights = query + dh;
  A* of_warps = weights + kStepThreads;
  A* sums = of_warps + kStepWarps;  // [kStepWarps, dh]
  A* mine = sums + warp * dh;
  for (int c = thread; c < dh; c += kStepThreads) query[c] = A(q.at(b, 0, head)[c]);
  for (int c = lane; c < dh; c += kWarp) mine[c] = 0;
  const std::int64_t before = position.value();
  s.past = before < s.past ? before : s.past;
  const std::int64_t end = s.end_key(0);
  A top = -INFINITY;
  A total = 0;
  __syncthreads();  // the query is there
  for (std::int64_t first = s.first_key(0); first < end; first += kStepThreads) {
    const auto here = static_cast<int>(end - first < kStepThreads ? end - first : kStepThreads);
    A score = -INFINITY;
    if (thread < here) {
      const T* key = k.at(b, first + thread, group);
      score = (kChunks ? dot_of_chunks(query, key, dh) : naive::dot(query, key, dh)) * scale;
    }
    const A chunk_top = join<Max>(score, of_warps);
    const A next = chunk_top > top ? chunk_top : top;
    const A weight = thread < here ? exp_value(score - next) : A(0);
    const A shrink = total == A(0) ? A(0) : exp_value(top - next);
    weights[thread] = weight;
    total = total * shrink + join<Sum>(weight, of_warps);  // after it the weights are there
    for (int c = lane; c < dh; c += kWarp) {
      const T* values = v.at(b, first, group) + c;
      A sum = mine[c] * shrink;
#pragma unroll 16
      for (int n = warp; n < here; n += kStepWarps) sum += weights[n] * A(values[n * v.stride]);
      mine[c] = sum;
    }
    top = next;
    __syncthreads();  // the weights are used, and in the end the sums are there
  }
  for (int c = thread; c < dh; c += kStepThreads) {
    A sum = sums[c];
    for (int w = 1; w < kStepWarps; ++w) sum += sums[w * dh + c];
    out.at(b, 0, head)[c] = static_cast<T>(sum / total);
  }
}

template <class T>
bool takes(const AttentionSizes& s) {
  return shared_bytes<acc_t<T>>(s) <= 48 * 1024;
}

template <class T>
bool reads_chunks(const HeadRows<const T>& k) {
  return reinterpret_cast<std::uintptr_t>(k.data) % 16 == 0 && k.stride % Chunk<T>::kSize == 0 &&
         k.head_dim % Chunk<T>::kSize == 0;
}

template <class T>
void forward(Device device, const AttentionSizes& s, TokenPosition position, const AttentionRows<T>& x) {
  using A = acc_t<T>;
  const auto launch = [&](auto chosen) {
    launch_attention(chosen, device, s.batch * s.heads, kStepThreads, shared_bytes<A>(s), s, position, x.q, x.k, x.v,
                     x.out, A(1) / std::sqrt(A(s.head_dim)));
  };
  reads_chunks(x.k) ? launch(kernel<T, A, true>) : launch(kernel<T, A, false>);
}

}  // namespace mixgrad::cuda::step
