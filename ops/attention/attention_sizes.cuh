// What all implementations of attention share: the sizes and who sees whom, rows of one head, and the launch.
#pragma once

#include "core/cuda/launch.cuh"
#include "core/numeric/dropout_bits.h"
#include "ops/attention/attention_block_sizes.h"
#include "ops/attention/attention_kernels.h"

namespace mixgrad::cuda {

struct AttentionSizes {
  std::int64_t batch, queries, keys, past, per_token, heads, kv_heads, head_dim, window;
  DropoutMask dropout;

  AttentionSizes(const Tensor& q, std::int64_t length, std::int64_t keys_per_token, const AttentionOptions& options)
      : batch(q.dim(0)),
        queries(q.dim(1)),
        keys(length),
        past(length / keys_per_token - q.dim(1)),
        per_token(keys_per_token),
        heads(options.heads),
        kv_heads(options.kv_heads),
        head_dim(q.cols() / options.heads),
        window(options.window),
        dropout(options.dropout) {}

  // Rows of keys that query i sees, and queries that see row j. Neither end falls when its argument grows.
  __device__ std::int64_t first_key(std::int64_t i) const {
    const std::int64_t token = past + i - window + 1;
    return window > 0 && token > 0 ? token * per_token : 0;
  }
  __device__ std::int64_t end_key(std::int64_t i) const { return (past + i + 1) * per_token; }
  __device__ std::int64_t first_query(std::int64_t j) const {
    const std::int64_t token = j / per_token;
    return token > past ? token - past : 0;
  }
  __device__ std::int64_t end_query(std::int64_t j) const {
    const std::int64_t end = j / per_token - past + window;
    return window > 0 && end < queries ? end : queries;
  }
};

// The factors of a dropout of the probabilities of one head: 0, or 1 / (1 - rate).
template <class A>
struct HeadDropout {
  DropoutMask mask;
  std::uint64_t stream, first, row;  // first: block of query 0; row: blocks of a query
  A scale;

  __device__ HeadDropout(const AttentionSizes& s, std::int64_t b, std::int64_t head)
      : mask(s.dropout),
        stream(s.dropout.stream()),
        first(0),
        row(static_cast<std::uint64_t>(dropout_row(s.keys) / 4)),
        scale(static_cast<A>(s.dropout.scale())) {
    first = static_cast<std::uint64_t>((b * s.heads + head) * s.queries) * row;
  }
  __device__ RandomBits bits(std::int64_t i, std::int64_t j) const {
    return dropout_bits(mask, stream, first + static_cast<std::uint64_t>(i) * row + static_cast<std::uint64_t>(j / 4));
  }
  __device__ A of_word(std::uint32_t word) const { return mask.keeps_word(word) ? scale : A(0); }
  // Of query i and row j of the keys.
  __device__ A at(std::int64_t i, std::int64_t j) const {
    const RandomBits all = bits(i, j);
    const std::uint32_t low = j % 2 == 0 ? all.words[0] : all.words[1];
    const std::uint32_t high = j % 2 == 0 ? all.words[2] : all.words[3];
    return of_word(j % 4 < 2 ? low : high);
  }
};

// factor x, and 0 for a factor of 0 whatever x is.
template <class A>
__device__ A dropped(A factor, A x) {
  return factor == A(0) ? A(0) : factor * x;
}

// Row (b, t) of one head of a [B, capacity, heads * head_dim] tensor.
template <class T>
struct HeadRows {
  T* data;
  std::int64_t stride, per_batch, head_dim;

  HeadRows(const Tensor& x, std::int64_t width)
      : data(x.defined() ? x.data<std::remove_const_t<T>>() : nullptr),
        stride(x.row_stride()),
        per_batch(x.defined() ? x.dim(1) * x.row_stride() : 0),
        head_dim(width) {}
  __device__ T* at(std::int64_t b, std::int64_t t, std::int64_t head) const {
    return data + b * per_batch + t * stride + head * head_dim;
  }
};

// What a forward pass reads and writes.
template <class T>
struct AttentionRows {
  HeadRows<const T> q, k, v;
  HeadRows<T> out;
  acc_t<T>* lse;  // [B,H,T], or null

  AttentionRows(const AttentionSizes& s, const Tensor& q_, const Tensor& k_, const Tensor& v_, const Tensor& out_,
                const Tensor& lse_)
      : q(q_, s.head_dim),
        k(k_, s.head_dim),
        v(v_, s.head_dim),
        out(out_, s.head_dim),
        lse(lse_.defined() ? lse_.data<acc_t<T>>() : nullptr) {}
};

// What a backward pass reads and writes. delta [B,H,T], scratch, becomes dout . out of each query head.
template <class T>
struct AttentionGradient {
  HeadRows<const T> q, k, v, out, dout;
  const acc_t<T>* lse;
  acc_t<T>* delta;
  HeadRows<T> dq, dk, dv;  // null where not wanted
  bool add_q, add_k, add_v;

  AttentionGradient(const AttentionSizes& s, const Tensor& q_, const Tensor& k_, const Tensor& v_, const Tensor& out_,
                    const Tensor& lse_, const Tensor& dout_, const Tensor& delta_, const GradTarget& dq_,
                    const GradTarget& dk_, const GradTarget& dv_)
      : q(q_, s.head_dim),
        k(k_, s.head_dim),
        v(v_, s.head_dim),
        out(out_, s.head_dim),
        dout(dout_, s.head_dim),
        lse(lse_.data<acc_t<T>>()),
        delta(delta_.data<acc_t<T>>()),
        dq(dq_.tensor, s.head_dim),
        dk(dk_.tensor, s.head_dim),
        dv(dv_.tensor, s.head_dim),
        add_q(dq_.add),
        add_k(dk_.add),
        add_v(dv_.add) {}
};

template <class Kernel, class... Arguments>
void launch_attention(Kernel kernel, Device device, std::int64_t blocks, int threads, std::size_t bytes,
                      const Arguments&... arguments) {
  if (blocks == 0) return;
  const cudaStream_t queue = stream(device);
  if (bytes > 48 * 1024) {
    MIXGRAD_CUDA_CALL("attention", cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                        static_cast<int>(bytes)));
  }
  const dim3 grid(static_cast<unsigned>(blocks));
  kernel<<<grid, threads, bytes, queue>>>(arguments...);
  check_launch("attention", grid, threads);
}

// ---- for the implementations that work in tiles of kTileRows rows of one head

inline constexpr int kTileRows = kAttentionTileRows;

inline std::int64_t tiles_of(std::int64_t rows) { return (rows + kTileRows - 1) / kTileRows; }

// The tile of queries of a block, those with the most keys first: head by head, so that its keys stay in the cache.
struct QueryTile {
  int b, head, group, first, end;  // rows [first,end)

  __device__ explicit QueryTile(const AttentionSizes& s) {
    const auto tiles = static_cast<int>((s.queries + kTileRows - 1) / kTileRows);
    first = (tiles - 1 - static_cast<int>(blockIdx.x) % tiles) * kTileRows;
    end = min(first + kTileRows, static_cast<int>(s.queries));
    const int place = static_cast<int>(blockIdx.x) / tiles;
    head = place % static_cast<int>(s.heads);
    b = place / static_cast<int>(s.heads);
    group = head / static_cast<int>(s.heads / s.kv_heads);
  }
};

// The tile of keys of a block; in causal attention the first is seen by the most queries.
struct KeyTile {
  int b, group, first, end;

  __device__ explicit KeyTile(const AttentionSizes& s) {
    const auto tiles = static_cast<int>((s.keys + kTileRows - 1) / kTileRows);
    first = static_cast<int>(blockIdx.x) % tiles * kTileRows;
    end = min(first + kTileRows, static_cast<int>(s.keys));
    const int place = static_cast<int>(blockIdx.x) / tiles;
    group = place % static_cast<int>(s.kv_heads);
    b = place / static_cast<int>(s.kv_heads);
  }
};

// The columns [begin,end) that a row of a tile of scores sees: keys of a query, or queries of a key.
struct VisibleRange {
  int begin, end;
  __device__ bool has(int column) const { return column >= begin && column < end; }
  __device__ bool has_all(int first, int count) const { return first >= begin && first + count <= end; }
};

inline __device__ VisibleRange keys_seen_by(const AttentionSizes& s, int i) {
  return {static_cast<int>(s.first_key(i)), static_cast<int>(s.end_key(i))};
}
inline __device__ VisibleRange queries_that_see(const AttentionSizes& s, int j) {
  return {static_cast<int>(s.first_query(j)), static_cast<int>(s.end_query(j))};
}

}  // namespace mixgrad::cuda
