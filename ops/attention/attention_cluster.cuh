// Decoding with a cluster of blocks for each key/value head: one query of each head, whose keys the blocks of the
// cluster read side by side. What a block has found it writes into the shared memory of the first block of the cluster,
// which joins all of it in the order of the blocks:
//
//   of block n: top_n = max_j s_j, total_n = sum_j exp(s_j - top_n), sum_n = sum_j exp(s_j - top_n) v_j over its keys j
//   out = sum_n exp(top_n - top) sum_n / sum_n exp(top_n - top) total_n,  top = max_n top_n
//
// The keys that the position sees are cut into as many runs as the cluster has blocks, so the grid is the same for
// every position and the bits depend on the shape and the position alone. A row of head_dim elements is read by kLanes
// lanes of a warp, 16 bytes each. While the rows of one step are used, those of the next are on their way.
//
// attention_split.cuh, its reference, has a block for every 128 rows instead. There a block ends with a ticket in
// global memory (two fences and an atomic, in which it reads nothing), and with two blocks at a time on a
// multiprocessor a cache of 32,000 tokens came at 1.9 of 4.3 TB/s; here at 3.6. But a cluster of 16 blocks starts about
// 2 us later than as many single ones (of 8: 1 us), which a cache of up to 2,048 rows does not gain back.
//
// Tried (12 layers, bf16, us a token; 12 heads, then 6): clusters of 8 at 32,000 tokens 556, 503, of 16 502, 392; 16
// warps in a block in place of 8 at 8,000 tokens 324, 250 in place of 266, 245, at 32,000 551, 365 in place of 502,
// 392; the first block reading what the others have (no difference).
#pragma once

#include <numbers>

#include "core/cuda/raw_chunk.cuh"
#include "ops/attention/attention_split.cuh"

namespace mixgrad::cuda::cluster {

constexpr std::int64_t kShortCache = kAttentionShortCache;  // rows, up to which attention_split.cuh is quicker
constexpr std::int64_t kManyHeads = kAttentionManyHeads;    // key/value heads of all sequences, from which on it is not
// Warps of a block. More of them pay off where a block has a multiprocessor to itself and many rows (numbers above),
// fewer where there are more heads than kMostBlocks: four blocks of 4 warps fit on a multiprocessor, so 384 heads run
// at once, which in blocks of 8 warps took two turns.
constexpr int kLeastWarps = 4;
constexpr int kFewWarps = 8;
constexpr int kManyWarps = 16;
constexpr std::int64_t kLongCache = kAttentionLongCache;   // rows, beyond which few heads take many warps
constexpr std::int64_t kMostRows = std::int64_t{1} << 30;  // of a cache: they are counted in 32 bits
constexpr int kMostBlocks = 256;                           // of the grid, if it has more than one for each head

// Writes into the shared memory of block 0 of the cluster what would be `mine` in this block's.
template <class A>
__device__ void put_in_first(A* mine, A value) {
#if __CUDA_ARCH__ >= 900
  static_assert(sizeof(A) == 4);
  const auto here = static_cast<unsigned>(__cvta_generic_to_shared(mine));
  unsigned there = 0;
  asm volatile("mapa.shared::cluster.u32 %0, %1, 0;" : "=r"(there) : "r"(here));
  asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(there), "f"(value) : "memory");
#endif
}

// A barrier of all threads of a cluster in two halves: what was written before arrive_at_cluster() is visible after
// await_cluster(). A block that needs nothing of the others may end after the first.
__device__ inline void arrive_at_cluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
}
// The same for threads that have written nothing for the others: without the fence that the compiler puts before the
// other one, which every load of the kernel would wait for.
__device__ inline void arrive_without_results() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
#endif
}
__device__ inline void await_cluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}

// What a lane, then a warp, then a block knows of the keys it has seen, for one query head.
template <class A, int kSize>
struct Seen {
  A top = -INFINITY;
  A total = 0;
  A sums[kSize] = {};
};

// Scores of bf16 are in units of ln 2, so that their weights are powers of two, which the hardware approximates
// (relative error about 2e-7, where a weight of bf16 has 4e-3): one instruction, where the polynomial of f32 has 20.
template <class T>
constexpr double kScoreUnit = std::is_same_v<T, bf16> ? std::numbers::ln2 : 1.0;

// The weight of a score that lies x above the largest.
template <class T>
__device__ float power(float x) {
  if constexpr (std::is_same_v<T, bf16>) {
    float result = 0;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
  }
  return exp_value(x);
}

// That of `top` below `all`, and 0 for who has seen nothing.
template <class T, class A>
__device__ A weight_of(A top, A total, A all) {
  const A weight = power<T>(top - all);
  return total == A(0) ? A(0) : weight;
}

// Values of type A in the shared memory of a block: sums, top and total of each of its warps, for kHeads heads; and in
// the first block of a cluster those of each block, for all heads of the group.
inline int shared_values(int warps, int dh, int heads, int per_group, unsigned blocks) {
  return (heads * warps + (blocks > 1 ? per_group * static_cast<int>(blocks) : 0)) * (dh + 2);
}
constexpr std::size_t kMostBytes = 96 * 1024;  // of them

// Block (rank in the cluster, key/value head, b). s is that of a full cache. kHeads: query heads that share what was
// read; more of them are worked on one after the other.
template <class T, class A, int kLanes, int kHeads, int kWarps>
__global__ void __launch_bounds__(kWarps* kWarp, kHeads > 1 || kWarps > kFewWarps ? 1 : 2 * kFewWarps / kWarps)
    kernel(AttentionSizes s, TokenPosition position, HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v,
           split::FreshRows<T> fresh, HeadRows<T> out, A scale) {
  constexpr int kThreads = kWarps * kWarp;
  constexpr int kSize = Chunk<T>::kSize;
  constexpr int kAtOnce = kWarp / kLanes;          // rows that a warp reads with one instruction
  constexpr int kTogether = kWarps * kAtOnce;      // and the block
  constexpr int kRowsOfLane = kHeads > 1 ? 2 : 4;  // chunks of keys, and of values, of a step
  constexpr int kStep = kTogether * kRowsOfLane;
  const auto blocks = static_cast<int>(gridDim.x);
  // The first block must have begun before others write into its memory: by then this barrier is long complete.
  if (blocks > 1) arrive_without_results();
  if (!fresh.at_rest) wait_for_previous();
  const std::int64_t before = position.value();
  const std::int64_t tokens = s.past + 1;  // that the cache has room for
  s.past = before < s.past ? before : s.past;
  const auto begin = static_cast<int>(s.first_key(0));
  const auto end = static_cast<int>(s.end_key(0));
  const auto rank = static_cast<int>(blockIdx.x);
  const int rows = ((end - begin + blocks - 1) / blocks + kTogether - 1) / kTogether * kTogether;
  const int first = begin + rank * rows;
  const int last = min(end, first + rows);

  const auto group = static_cast<int>(blockIdx.y);
  const auto b = static_cast<int>(blockIdx.z);
  const auto dh = static_cast<int>(s.head_dim);
  const auto thread = static_cast<int>(threadIdx.x);
  const int warp = thread / kWarp;
  const int lane = thread % kWarp;
  const int column = lane % kLanes * kSize;  // of the row, the first that this lane reads
  const bool reads = column < dh;
  const int last_read = reads ? last : first;  // by this lane, as `last`
  const int offset = warp * kAtOnce + lane / kLanes;
  struct Rows {
    Raw keys[kRowsOfLane];
    Raw values[kRowsOfLane];
  };
  // One multiplication of 32 by 32 bits finds a row.
  const auto* key_rows = reinterpret_cast<const char*>(k.at(b, 0, group) + column);
  const auto* value_rows = reinterpret_cast<const char*>(v.at(b, 0, group) + column);
  const auto key_bytes = static_cast<int>(k.stride * static_cast<int>(sizeof(T)));
  const auto value_bytes = static_cast<int>(v.stride * static_cast<int>(sizeof(T)));
  const auto load = [&](int from, Rows& to) {
#pragma unroll
    for (int u = 0; u < kRowsOfLane; ++u) {
      const int row = from + u * kTogether + offset;
      to.keys[u] = row < last_read ? raw(key_rows + static_cast<std::int64_t>(row) * key_bytes) : Raw{};
    }
#pragma unroll
    for (int u = 0; u < kRowsOfLane; ++u) {
      const int row = from + u * kTogether + offset;
      to.values[u] = row < last_read ? raw(value_rows + static_cast<std::int64_t>(row) * value_bytes) : Raw{};
    }
  };
  Rows even;
  Rows odd;
  load(first, even);
  load(first + kStep, odd);
  // The divisions come after the loads, which need none of them.
  const auto per_group = static_cast<int>(static_cast<unsigned>(s.heads) / static_cast<unsigned>(s.kv_heads));
  // Rows [own, own + per_token) of the cache are the token's; behind every row where the cache has them already.
  const auto per_token = static_cast<int>(s.per_token);
  const int own = fresh.k.data == nullptr ? static_cast<int>(kMostRows) : static_cast<int>(before % tokens) * per_token;
  // What lies in the place of the token's own rows is an older token's, or nothing: they are taken from `fresh`, by the
  // few blocks that have them, and written there.
  const auto take_fresh = [&](int from, Rows& to) {
    if (own >= from + kStep || own + per_token <= from) return;
#pragma unroll
    for (int u = 0; u < kRowsOfLane; ++u) {
      const int row = from + u * kTogether + offset;
      if (row >= last_read || row < own || row >= own + per_token) continue;
      to.keys[u] = raw(fresh.k.at(b, row - own, group) + column);
      to.values[u] = raw(fresh.v.at(b, row - own, group) + column);
      *reinterpret_cast<Raw*>(fresh.k_cache.at(b, row, group) + column) = to.keys[u];
      *reinterpret_cast<Raw*>(fresh.v_cache.at(b, row, group) + column) = to.values[u];
    }
  };
  if (fresh.at_rest) wait_for_previous();

  A* of_warps = shared<A>();                             // [kHeads, kWarps, dh + 2]
  A* of_blocks = of_warps + kHeads * kWarps * (dh + 2);  // [per_group, blocks, dh + 2], of the first block
  for (int head_of_group = 0; head_of_group < per_group; head_of_group += kHeads) {
    const std::int64_t head = static_cast<std::int64_t>(group) * per_group + head_of_group;
    if (head_of_group > 0) {
      load(first, even);
      load(first + kStep, odd);
    }
    Raw queries[kHeads];
    Seen<A, kSize> seen[kHeads];
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      const bool there = reads && head_of_group + h < per_group;
      queries[h] = there ? raw(q.at(b, 0, head + h) + column) : Raw{};
    }
    const auto use = [&](int from, const Rows& of) {
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        Seen<A, kSize>& mine = seen[h];
        // All rows in each step: written row by row, the compiler put the chains of sums and exchanges one after the
        // other.
        A scores[kRowsOfLane] = {};
#pragma unroll
        for (int e = 0; e < kSize; ++e) {
          const A query = element<T>(queries[h], e);
#pragma unroll
          for (int u = 0; u < kRowsOfLane; ++u) scores[u] += query * element<T>(of.keys[u], e);
        }
#pragma unroll
        for (int distance = kLanes / 2; distance > 0; distance /= 2) {
#pragma unroll
          for (int u = 0; u < kRowsOfLane; ++u) scores[u] += __shfl_xor_sync(0xffffffffU, scores[u], distance);
        }
        A top = mine.top;
#pragma unroll
        for (int u = 0; u < kRowsOfLane; ++u) {
          scores[u] = from + u * kTogether + offset < last ? scores[u] * scale : -INFINITY;
          top = Max::join(top, scores[u]);
        }
        const A shrink = weight_of<T>(mine.top, mine.total, top);
        mine.top = top;
        mine.total *= shrink;
#pragma unroll
        for (int e = 0; e < kSize; ++e) mine.sums[e] *= shrink;
#pragma unroll
        for (int u = 0; u < kRowsOfLane; ++u) {
          const A power_of = power<T>(scores[u] - top);
          const A weight = scores[u] == A(-INFINITY) ? A(0) : power_of;
          mine.total += weight;
#pragma unroll
          for (int e = 0; e < kSize; ++e) mine.sums[e] += weight * element<T>(of.values[u], e);
        }
      }
    };
    for (int from = first; from < last; from += 2 * kStep) {
      take_fresh(from, even);
      use(from, even);
      load(from + 2 * kStep, even);
      if (from + kStep >= last) break;
      take_fresh(from + kStep, odd);
      use(from + kStep, odd);
      load(from + 3 * kStep, odd);
    }

    // The lanes of a warp that have the same columns, then the warps, then the blocks.
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      Seen<A, kSize>& mine = seen[h];
      const A all = split::join_lanes<Max, kLanes, kWarp>(mine.top);
      const A weight = weight_of<T>(mine.top, mine.total, all);
      const A total = split::join_lanes<Sum, kLanes, kWarp>(mine.total * weight);
      A* to = of_warps + (h * kWarps + warp) * (dh + 2);
#pragma unroll
      for (int e = 0; e < kSize; ++e) {
        const A sum = split::join_lanes<Sum, kLanes, kWarp>(mine.sums[e] * weight);
        if (lane < kLanes && reads) to[column + e] = sum;
      }
      if (lane == 0) {
        to[dh] = all;
        to[dh + 1] = total;
      }
    }
    __syncthreads();
    if (blocks > 1 && head_of_group == 0) await_cluster();  // the first block has begun
    const int columns = min(kHeads, per_group - head_of_group) * dh;
    for (int i = thread; i < columns; i += kThreads) {
      const A* from = of_warps + i / dh * kWarps * (dh + 2);
      const int c = i % dh;
      A all = -INFINITY;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) all = Max::join(all, from[w * (dh + 2) + dh]);
      A sum = 0;
      A total = 0;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        const A* row = from + w * (dh + 2);
        const A weight = weight_of<T>(row[dh], row[dh + 1], all);
        sum += weight * row[c];
        total += weight * row[dh + 1];
      }
      if (blocks == 1) {
        out.at(b, 0, head + i / dh)[c] = static_cast<T>(sum / total);
        continue;
      }
      A* to = of_blocks + ((head_of_group + i / dh) * blocks + rank) * (dh + 2);
      put_in_first(to + c, sum);
      if (c == 0) {
        put_in_first(to + dh, all);
        put_in_first(to + dh + 1, total);
      }
    }
    __syncthreads();  // the next heads write there
  }
  if (blocks == 1) return;
  arrive_at_cluster();
  if (rank != 0) return;
  await_cluster();
  for (int i = thread; i < per_group * dh; i += kThreads) {
    const A* from = of_blocks + i / dh * blocks * (dh + 2);
    const int c = i % dh;
    A all = -INFINITY;
    for (int n = 0; n < blocks; ++n) all = Max::join(all, from[n * (dh + 2) + dh]);
    A sum = 0;
    A total = 0;
#pragma unroll 4
    for (int n = 0; n < blocks; ++n) {
      const A* row = from + n * (dh + 2);
      const A weight = weight_of<T>(row[dh], row[dh + 1], all);
      sum += weight * row[c];
      total += weight * row[dh + 1];
    }
    out.at(b, 0, static_cast<std::int64_t>(group) * per_group + i / dh)[c] = static_cast<T>(sum / total);
  }
}

// bf16 and f32 in whole chunks, long caches or many heads, where the device has clusters.
template <class T>
bool takes(Device device, const AttentionSizes& s, const AttentionRows<T>& x) {
  return !std::is_same_v<T, double> && can_launch_early(device) && split::takes<T>(s, x) &&
         (s.keys > kShortCache || s.batch * s.kv_heads >= kManyHeads) && s.keys < kMostRows;
}

template <class T>
void forward(Device device, const AttentionSizes& s, TokenPosition position, const AttentionRows<T>& x,
             const split::FreshRows<T>& fresh) {
  using A = acc_t<T>;
  const auto run = [&]<int kLanes, int kHeads, int kWarps>() {
    constexpr auto* code = kernel<T, A, kLanes, kHeads, kWarps>;
    const auto bytes = [&](unsigned count) {
      return static_cast<std::size_t>(shared_values(kWarps, static_cast<int>(s.head_dim), kHeads,
                                                    static_cast<int>(s.heads / s.kv_heads), count)) *
             sizeof(A);
    };
    const std::int64_t heads = s.batch * s.kv_heads;
    const int most = most_in_cluster<code>("attention", device, kWarps * kWarp, kMostBytes);
    unsigned blocks = 1;
    while (blocks < static_cast<unsigned>(most) && 2 * blocks * heads <= kMostBlocks &&
           bytes(2 * blocks) <= kMostBytes) {
      blocks *= 2;
    }
    const dim3 grid(blocks, static_cast<unsigned>(s.kv_heads), static_cast<unsigned>(s.batch));
    launch_clusters("attention", device, blocks, grid, kWarps * kWarp, bytes(blocks), code, s, position, x.q, x.k, x.v,
                    fresh, x.out, static_cast<A>(1 / (std::sqrt(static_cast<double>(s.head_dim)) * kScoreUnit<T>)));
  };
  const bool wide = s.keys > kLongCache && s.batch * s.kv_heads * kMostInCluster <= kMostBlocks / 2;
  const auto with_heads = [&]<int kLanes>() {
    if (s.heads != s.kv_heads) return run.template operator()<kLanes, 4, kFewWarps>();
    if (wide) return run.template operator()<kLanes, 1, kManyWarps>();
    if (s.batch * s.kv_heads > kMostBlocks) return run.template operator()<kLanes, 1, kLeastWarps>();
    run.template operator()<kLanes, 1, kFewWarps>();
  };
  switch (split::lanes_of<T>(s.head_dim)) {
    case 1: return with_heads.template operator()<1>();
    case 2: return with_heads.template operator()<2>();
    case 4: return with_heads.template operator()<4>();
    case 8: return with_heads.template operator()<8>();
    case 16: return with_heads.template operator()<16>();
    default: return with_heads.template operator()<32>();
  }
}

}  // namespace mixgrad::cuda::cluster
