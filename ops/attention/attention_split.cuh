// Decoding with the cache cut into pieces ("flash decoding"): one query of each head, a block of threads for each piece
// of the cache and each key/value head, so that a long cache is read by the whole device.
//
//   piece n: rows [n R, (n + 1) R) of the cache, where R depends on the type and head_dim alone
//   of a piece: top_n = max_j s_j, total_n = sum_j exp(s_j - top_n), sum_n = sum_j exp(s_j - top_n) v_j
//   out = sum_n exp(top_n - top) sum_n / sum_n exp(top_n - top) total_n,  top = max_n top_n
//
// The token's own keys and values may come along ("fresh"): then the blocks whose piece has their place in the ring
// take them from there and write them into the cache, which saves a kernel for it.
//
// The grid covers the cache's capacity, whatever the position: a captured step is replayed for every later token.
// Blocks of pieces without a visible row leave at once. The last block of a key/value head to finish joins the pieces
// in the order of their rows, so the bits depend on the shape and the position alone.
//
// A row of head_dim elements is read by kLanes lanes of a warp, 16 bytes each; all rows of a piece are in flight before
// the first of them is used. The query heads of a group share what was read.
#pragma once

#include "core/numeric/vec_math.h"
#include "ops/attention/attention_sizes.cuh"

namespace mixgrad::cuda::split {

constexpr int kWarps = 8;
constexpr int kSplitThreads = kWarps * kWarp;
constexpr int kRowsOfLane = 4;  // chunks of keys, and of values, that a lane keeps in registers
constexpr int kMostTickets = 1 << 16;

// Rows of a piece.
constexpr int piece_rows(int lanes) { return kWarps * (kWarp / lanes) * kRowsOfLane; }

// How many blocks of a key/value head have finished; 0 again when the kernel ends. One stream runs all kernels of a
// device, so two kernels never share it.
static __device__ unsigned tickets[kMostTickets];

template <class Join, int kFrom, int kTo, class A>
__device__ A join_lanes(A value) {
#pragma unroll
  for (int distance = kTo / 2; distance >= kFrom; distance /= 2) {
    value = Join::join(value, __shfl_xor_sync(0xffffffffU, value, distance));
  }
  return value;
}

// Results of the pieces: sums [B,H,pieces,head_dim], tops and totals [B,H,pieces].
template <class A>
struct Pieces {
  A* sums;
  A* tops;
  A* totals;
  int count;
};

// The weight of a piece whose largest score is `top` among those whose largest is `all`.
template <class A>
__device__ A piece_weight(A top, A all) {
  return exp_value(top - all);
}

// The output of one head from its pieces [first, end), by all threads of the block.
template <class T, class A>
__device__ void join_pieces(const Pieces<A>& pieces, std::int64_t head_row, int first, int end, int dh, T* out,
                            A* memory) {
  const auto thread = static_cast<int>(threadIdx.x);
  const A* tops = pieces.tops + head_row * pieces.count;
  const A* totals = pieces.totals + head_row * pieces.count;
  const A* sums = pieces.sums + head_row * pieces.count * dh;
  __shared__ A top_of_warps[kWarps];
  A top = -INFINITY;
  for (int n = first + thread; n < end; n += kSplitThreads) top = Max::join(top, tops[n]);
  top = join_lanes<Max, 1, kWarp>(top);
  if (thread % kWarp == 0) top_of_warps[thread / kWarp] = top;
  __syncthreads();
  for (int w = 0; w < kWarps; ++w) top = Max::join(top, top_of_warps[w]);
  // Thread (slice, channel): every slices-th piece; then the slices in order.
  const int slices = kSplitThreads / dh > 0 ? kSplitThreads / dh : 1;
  const int slice = thread / dh;
  for (int c = thread % dh; c < dh; c += kSplitThreads) {
    if (slice >= slices) break;
    A sum = 0;
    A total = 0;
#pragma unroll 8
    for (int n = first + slice; n < end; n += slices) {
      const A weight = piece_weight(tops[n], top);
      sum += weight * sums[static_cast<std::int64_t>(n) * dh + c];
      total += weight * totals[n];
    }
    memory[slice * dh + c] = sum;
    memory[(slices + slice) * dh + c] = total;
  }
  __syncthreads();
  for (int c = thread; c < dh; c += kSplitThreads) {
    A sum = memory[c];
    A total = memory[slices * dh + c];
    for (int n = 1; n < slices; ++n) {
      sum += memory[n * dh + c];
      total += memory[(slices + n) * dh + c];
    }
    out[c] = static_cast<T>(sum / total);
  }
  __syncthreads();  // the next head writes there
}

// Values of type A in the shared memory of a block.
inline int shared_values(int dh) {
  const int of_warps = kWarps * (dh + 2);
  const int slices = kSplitThreads / dh > 0 ? kSplitThreads / dh : 1;
  return of_warps > 2 * slices * dh ? of_warps : 2 * slices * dh;
}

// Keys and values of the token at hand, [B,per_token,G dh]; null when the cache has them already. at_rest: the kernel
// before this one writes nothing into the cache (Context::weights_at_rest), so it is read while that one still runs.
template <class T>
struct FreshRows {
  HeadRows<const T> k, v;
  HeadRows<T> k_cache, v_cache;
  bool at_rest = false;
};

// Block (piece, key/value head, b). s is that of a full cache.
template <class T, class A, int kLanes>
__global__ void __launch_bounds__(kSplitThreads, 2)
    kernel(AttentionSizes s, TokenPosition position, HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v,
           FreshRows<T> fresh, HeadRows<T> out, A scale, Pieces<A> pieces) {
  constexpr int kSize = Chunk<T>::kSize;
  constexpr int kAtOnce = kWarp / kLanes;  // rows that a warp reads with one instruction
  constexpr int kRows = piece_rows(kLanes);
  if (!fresh.at_rest) wait_for_previous();
  const std::int64_t before = position.value();
  // Rows [own, own + per_token) of the cache are the token's; behind every row where the cache has them already.
  const std::int64_t own = fresh.k.data == nullptr ? std::int64_t{1} << 60 : before % (s.past + 1) * s.per_token;
  s.past = before < s.past ? before : s.past;
  const std::int64_t begin = s.first_key(0);
  const std::int64_t end = s.end_key(0);
  const auto piece = static_cast<int>(blockIdx.x);
  const auto first_piece = static_cast<int>(begin / kRows);
  const auto end_piece = static_cast<int>((end + kRows - 1) / kRows);
  if (piece < first_piece || piece >= end_piece) {
    if (fresh.at_rest) wait_for_previous();
    return;
  }

  const auto group = static_cast<int>(blockIdx.y);
  const auto b = static_cast<int>(blockIdx.z);
  const auto dh = static_cast<int>(s.head_dim);
  const auto per_group = static_cast<int>(s.heads / s.kv_heads);
  const int thread = static_cast<int>(threadIdx.x);
  const int warp = thread / kWarp;
  const int lane = thread % kWarp;
  const int column = lane % kLanes * kSize;  // of the row, the first that this lane reads
  const bool reads = column < dh;
  const std::int64_t first_row =
      static_cast<std::int64_t>(piece) * kRows + warp * kAtOnce * kRowsOfLane + lane / kLanes;
  Chunk<T> keys[kRowsOfLane];
  Chunk<T> values[kRowsOfLane];
#pragma unroll
  for (int u = 0; u < kRowsOfLane; ++u) {
    const std::int64_t row = first_row + u * kAtOnce;
    const bool there = reads && row >= begin && row < end;
    keys[u] = there ? *reinterpret_cast<const Chunk<T>*>(k.at(b, row, group) + column) : Chunk<T>{};
  }
#pragma unroll
  for (int u = 0; u < kRowsOfLane; ++u) {
    const std::int64_t row = first_row + u * kAtOnce;
    const bool there = reads && row >= begin && row < end;
    values[u] = there ? *reinterpret_cast<const Chunk<T>*>(v.at(b, row, group) + column) : Chunk<T>{};
  }
  if (fresh.at_rest) wait_for_previous();
  // What lies in the place of the token's own rows is an older token's, or nothing: they are taken from `fresh`, by the
  // few blocks that have them, and written there. A choice of the address for every row took twice the time.
  if (own < (piece + std::int64_t{1}) * kRows && own + s.per_token > piece * std::int64_t{kRows}) {
#pragma unroll
    for (int u = 0; u < kRowsOfLane; ++u) {
      const std::int64_t row = first_row + u * kAtOnce;
      if (!reads || row < own || row >= own + s.per_token) continue;
      keys[u] = *reinterpret_cast<const Chunk<T>*>(fresh.k.at(b, row - own, group) + column);
      values[u] = *reinterpret_cast<const Chunk<T>*>(fresh.v.at(b, row - own, group) + column);
      *reinterpret_cast<Chunk<T>*>(fresh.k_cache.at(b, row, group) + column) = keys[u];
      *reinterpret_cast<Chunk<T>*>(fresh.v_cache.at(b, row, group) + column) = values[u];
    }
  }

  A* sums_of_warps = shared<A>();                  // [kWarps, dh]
  A* tops_of_warps = sums_of_warps + kWarps * dh;  // [kWarps]
  A* totals_of_warps = tops_of_warps + kWarps;     // [kWarps]
  const bool alone = end_piece - first_piece == 1;
  for (int h = 0; h < per_group; ++h) {
    const std::int64_t head = static_cast<std::int64_t>(group) * per_group + h;
    const Chunk<T> query = reads ? *reinterpret_cast<const Chunk<T>*>(q.at(b, 0, head) + column) : Chunk<T>{};
    A scores[kRowsOfLane];
    A top = -INFINITY;
#pragma unroll
    for (int u = 0; u < kRowsOfLane; ++u) {
      A sum = 0;
#pragma unroll
      for (int e = 0; e < kSize; ++e) sum += A(query.values[e]) * A(keys[u].values[e]);
      const std::int64_t row = first_row + u * kAtOnce;
      scores[u] = join_lanes<Sum, 1, kLanes>(sum) * scale;
      if (row < begin || row >= end) scores[u] = -INFINITY;
      top = Max::join(top, scores[u]);
    }
    top = join_lanes<Max, kLanes, kWarp>(top);
    A total = 0;
    A sums[kSize] = {};
#pragma unroll
    for (int u = 0; u < kRowsOfLane; ++u) {
      const A weight = scores[u] == A(-INFINITY) ? A(0) : exp_value(scores[u] - top);
      total += weight;
#pragma unroll
      for (int e = 0; e < kSize; ++e) sums[e] += weight * A(values[u].values[e]);
    }
    total = join_lanes<Sum, kLanes, kWarp>(total);
#pragma unroll
    for (int e = 0; e < kSize; ++e) sums[e] = join_lanes<Sum, kLanes, kWarp>(sums[e]);
    if (lane < kLanes && reads) {
#pragma unroll
      for (int e = 0; e < kSize; ++e) sums_of_warps[warp * dh + column + e] = sums[e];
    }
    if (lane == 0) {
      tops_of_warps[warp] = top;
      totals_of_warps[warp] = total;
    }
    __syncthreads();
    A all = tops_of_warps[0];
    for (int w = 1; w < kWarps; ++w) all = Max::join(all, tops_of_warps[w]);
    const std::int64_t head_row = b * s.heads + head;
    for (int c = thread; c < dh; c += kSplitThreads) {
      A sum = 0;
      A whole = 0;
      for (int w = 0; w < kWarps; ++w) {
        const A weight = piece_weight(tops_of_warps[w], all);
        sum += weight * sums_of_warps[w * dh + c];
        whole += weight * totals_of_warps[w];
      }
      if (alone) {
        out.at(b, 0, head)[c] = static_cast<T>(sum / whole);
      } else {
        pieces.sums[(head_row * pieces.count + piece) * dh + c] = sum;
        if (c == 0) {
          pieces.tops[head_row * pieces.count + piece] = all;
          pieces.totals[head_row * pieces.count + piece] = whole;
        }
      }
    }
    __syncthreads();  // the next head writes there
  }
  if (alone) return;

  __shared__ bool last;
  if (thread == 0) {
    __threadfence();  // the results of the block, which the barrier above has collected, before the ticket
    unsigned* ticket = tickets + b * s.kv_heads + group;
    last = atomicAdd(ticket, 1U) + 1 == static_cast<unsigned>(end_piece - first_piece);
    if (last) *ticket = 0;
    __threadfence();
  }
  __syncthreads();
  if (!last) return;
  for (int h = 0; h < per_group; ++h) {
    const std::int64_t head = static_cast<std::int64_t>(group) * per_group + h;
    join_pieces(pieces, b * s.heads + head, first_piece, end_piece, dh, out.at(b, 0, head), shared<A>());
  }
}

// Lanes of a warp that read a row together: a power of two.
template <class T>
int lanes_of(std::int64_t head_dim) {
  const std::int64_t chunks = (head_dim + Chunk<T>::kSize - 1) / Chunk<T>::kSize;
  int lanes = 1;
  while (lanes < chunks) lanes *= 2;
  return lanes;
}

template <class T>
bool has_chunks(const HeadRows<const T>& x) {
  return reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0 && x.stride % Chunk<T>::kSize == 0 &&
         x.per_batch % Chunk<T>::kSize == 0 && x.head_dim % Chunk<T>::kSize == 0;
}

// Are the heads whole chunks of 16 bytes, and not too wide for a warp?
template <class T>
bool takes(const AttentionSizes& s, const AttentionRows<T>& x) {
  return lanes_of<T>(s.head_dim) <= kWarp && has_chunks(x.q) && has_chunks(x.k) && has_chunks(x.v) &&
         s.batch * s.kv_heads <= kMostTickets && s.batch < 65536 && s.kv_heads < 65536;
}

template <class T>
void forward(Device device, const AttentionSizes& s, TokenPosition position, const AttentionRows<T>& x,
             const FreshRows<T>& fresh) {
  using A = acc_t<T>;
  const auto run = [&]<int kLanes>() {
    const std::int64_t pieces = (s.keys + piece_rows(kLanes) - 1) / piece_rows(kLanes);
    const std::int64_t heads = s.batch * s.heads;
    const Tensor results = Tensor::empty({heads * pieces, s.head_dim + 2}, dtype_of<A>(), device);
    A* memory = results.data<A>();
    const Pieces<A> parts{memory, memory + heads * pieces * s.head_dim, memory + heads * pieces * (s.head_dim + 1),
                          static_cast<int>(pieces)};
    const dim3 grid(static_cast<unsigned>(pieces), static_cast<unsigned>(s.kv_heads), static_cast<unsigned>(s.batch));
    launch("attention", device, grid, kSplitThreads,
           static_cast<std::size_t>(shared_values(static_cast<int>(s.head_dim))) * sizeof(A), kernel<T, A, kLanes>, s,
           position, x.q, x.k, x.v, fresh, x.out, A(1) / std::sqrt(A(s.head_dim)), parts);
  };
  switch (lanes_of<T>(s.head_dim)) {
    case 1: return run.template operator()<1>();
    case 2: return run.template operator()<2>();
    case 4: return run.template operator()<4>();
    case 8: return run.template operator()<8>();
    case 16: return run.template operator()<16>();
    default: return run.template operator()<32>();
  }
}

}  // namespace mixgrad::cuda::split
