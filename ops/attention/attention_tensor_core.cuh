// The third implementation: bf16 tiles through the tensor cores (mma.sync.m16n8k16: bf16 products, f32 sums),
// asynchronous copies into shared memory, the softmax online in f32. Needs compute capability 8.0 and heads of whole
// 16-byte chunks. This file: what forward and backward share, and forward. The algorithm is that of Dao,
// FlashAttention-2 (2023).
//
// A block of 4 warps owns a tile of 64 rows; a warp 16 of them, against all columns of the other tile. So sums and
// statistics of a row stay in the registers of 4 threads, and every sum has one order.
//
// Two neighbouring C of a product (fragments: core/cuda/tensor_core.cuh), rounded to bf16, are one A: scores become the
// weights of the second product in place.
//
// A masked score has probability 0 and rows beyond the last are read as 0; but 0 times a value that is not finite is
// NaN, so a NaN in a key or value also reaches the queries of its tile that come before it.
#pragma once

#include "core/cuda/async_copy.cuh"
#include "core/cuda/tensor_core.cuh"
#include "ops/attention/attention_naive.cuh"
#include "ops/attention/attention_sizes.cuh"

namespace mixgrad::cuda::tensor_core {

constexpr int kWarps = 4;
constexpr int kTileThreads = kWarps * kWarp;
constexpr int kWarpRows = kTileRows / kWarps;  // 16, the rows of A
constexpr float kLog2E = 1.44269504088896341F;

// Elements from row to row of a tile: 16 bytes more than the row, so that 8 rows of ldmatrix meet all 32 banks.
template <int kWidth>
constexpr int kPitch = kWidth + 8;

__device__ inline int lane_id() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ inline int warp_id() { return static_cast<int>(threadIdx.x) / kWarp; }
// The first of the thread's two rows in the tile of 64; the other is 8 below.
__device__ inline int thread_row() { return warp_id() * kWarpRows + lane_id() / 4; }
// The first of the thread's two neighbouring columns in 8.
__device__ inline int thread_column() { return lane_id() % 4 * 2; }

// 2^x, about 2e-7 relative; results below 2^-126 become 0. 2^-inf is 0, NaN stays.
__device__ inline float exp2_approximately(float x) {
  float y = 0;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// ---- tiles

// Rows [first, first + kRows) of a head, of which those below `end` exist; zeros beyond them and beyond head_dim.
template <int kWidth, int kRows>
__device__ void copy_tile(bf16* tile, const HeadRows<const bf16>& x, int b, int first, int end, int head) {
  constexpr int kChunks = kWidth / 8;
  const bf16* from = x.at(b, first, head);
#pragma unroll
  for (int n = static_cast<int>(threadIdx.x); n < kRows * kChunks; n += kTileThreads) {
    const int row = n / kChunks;
    const int column = n % kChunks * 8;
    const bool there = first + row < end && column < x.head_dim;
    copy_chunk(tile + row * kPitch<kWidth> + column, there ? from + row * x.stride + column : x.data, there);
  }
}

// to[n] = the warp's 16 rows of a . the rows 8 n .. 8 n + 7 of b, over kWidth columns
template <int kWidth, int kTiles>
__device__ void row_products(float (&to)[kTiles][4], const bf16* a, const bf16* b) {
  const int lane = lane_id();
  const bf16* row_a = a + (warp_id() * kWarpRows + lane % 16) * kPitch<kWidth> + lane / 16 * 8;
  const bf16* row_b = b + (lane / 16 * 8 + lane % 8) * kPitch<kWidth> + lane / 8 % 2 * 8;
#pragma unroll
  for (auto& tile : to) {
#pragma unroll
    for (float& value : tile) value = 0;
  }
#pragma unroll
  for (int k = 0; k < kWidth; k += 16) {
    unsigned left[4];
    load_matrices(left, row_a + k);
#pragma unroll
    for (int n = 0; n < kTiles; n += 2) {
      unsigned right[4];
      load_matrices(right, row_b + n * 8 * kPitch<kWidth> + k);
      multiply_add(to[n], left, right[0], right[1]);
      multiply_add(to[n + 1], left, right[2], right[3]);
    }
  }
}

// to += weights (16 x 8 kTiles, rounded to bf16) times the rows of b
template <int kWidth, int kTiles>
__device__ void add_weighted_rows(float (&to)[kWidth / 8][4], const float (&weights)[kTiles][4], const bf16* b) {
  const int lane = lane_id();
  const bf16* row_b = b + lane % 16 * kPitch<kWidth> + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kTiles; k += 2) {
    const unsigned left[4] = {packed(weights[k][0], weights[k][1]), packed(weights[k][2], weights[k][3]),
                              packed(weights[k + 1][0], weights[k + 1][1]),
                              packed(weights[k + 1][2], weights[k + 1][3])};
#pragma unroll
    for (int n = 0; n < kWidth / 8; n += 2) {
      unsigned right[4];
      load_transposed_matrices(right, row_b + k * 8 * kPitch<kWidth> + n * 8);
      multiply_add(to[n], left, right[0], right[1]);
      multiply_add(to[n + 1], left, right[2], right[3]);
    }
  }
}

// Replaces what the thread's two rows do not see of the columns from `first` on.
template <int kTiles>
__device__ void mask(float (&scores)[kTiles][4], const VisibleRange (&visible)[2], int first, float hidden) {
  if (visible[0].has_all(first, kTiles * 8) && visible[1].has_all(first, kTiles * 8)) return;
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (!visible[e / 2].has(first + n * 8 + thread_column() + e % 2)) scores[n][e] = hidden;
    }
  }
}

// Over the 4 threads that share rows; every one of them gets the result.
template <class Join>
__device__ float join_quad(float value) {
  value = Join::join(value, __shfl_xor_sync(0xffffffffU, value, 1));
  return Join::join(value, __shfl_xor_sync(0xffffffffU, value, 2));
}

// The thread's two rows of an output, times factor[r]; `first` is the tile's first row.
template <int kWidth>
__device__ void store_rows(const HeadRows<bf16>& to, bool add, int b, int first, int end, int head,
                           const float (&sums)[kWidth / 8][4], const float (&factor)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first + thread_row() + 8 * r;
    if (row >= end) continue;
    bf16* target = to.at(b, row, head) + thread_column();
#pragma unroll
    for (int n = 0; n < kWidth / 8; ++n) {
      if (n * 8 >= to.head_dim) continue;
      auto* pair = reinterpret_cast<unsigned*>(target + n * 8);
      const float left = sums[n][2 * r] * factor[r];
      const float right = sums[n][2 * r + 1] * factor[r];
      *pair = add ? packed(lower(*pair) + left, upper(*pair) + right) : packed(left, right);
    }
  }
}

// ---- forward

// One step of the softmax over the columns of a tile of scores, which become weights: for each of the thread's two rows
// the largest score so far, and the thread's part of the sum of the weights; sums of an output shrink along.
template <int kTiles, int kSums>
__device__ void softmax_step(float (&scores)[kTiles][4], float scale, float (&top)[2], float (&total)[2],
                             float (&sums)[kSums][4]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float best = -INFINITY;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) best = fmaxf(best, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
    const float next = fmaxf(top[r], join_quad<Max>(best));
    const float shift = next == -INFINITY ? 0.0F : next * (scale * kLog2E);  // a row that has seen nothing yet
    const float shrink = exp2_approximately(top[r] * (scale * kLog2E) - shift);
    float sum = 0;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int e = 2 * r; e < 2 * r + 2; ++e) {
        scores[n][e] = exp2_approximately(scores[n][e] * (scale * kLog2E) - shift);
        sum += scores[n][e];
      }
    }
    total[r] = total[r] * shrink + sum;
#pragma unroll
    for (int n = 0; n < kSums; ++n) {
      sums[n][2 * r] *= shrink;
      sums[n][2 * r + 1] *= shrink;
    }
    top[r] = next;
  }
}

// Leaves out weights of a tile whose columns are the keys from `first` on; the thread's rows are the queries `row` and
// row + 8. Two neighbouring columns share the bits of one call.
template <int kTiles>
__device__ void drop_keys(float (&scores)[kTiles][4], const HeadDropout<float>& drop, int row, int first) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    const int j = first + n * 8 + thread_column();
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const RandomBits bits = drop.bits(row + 8 * r, j);
      const bool upper_half = j % 4 == 2;
      const float left = drop.of_word(upper_half ? bits.words[2] : bits.words[0]);
      const float right = drop.of_word(upper_half ? bits.words[3] : bits.words[1]);
      scores[n][2 * r] = dropped(left, scores[n][2 * r]);
      scores[n][2 * r + 1] = dropped(right, scores[n][2 * r + 1]);
    }
  }
}

// out and lse of a tile of queries. Shared memory: the queries, and two stages of keys and values.
template <int kWidth, bool kDrops>
__global__ void __launch_bounds__(kTileThreads, kWidth <= 64 ? 4 : 2)
    forward_kernel(AttentionSizes s, AttentionRows<bf16> rows, float scale) {
  constexpr int kTile = kTileRows * kPitch<kWidth>;
  const QueryTile at(s);
  bf16* queries = shared<bf16>();
  bf16* stages = queries + kTile;
  const auto copy_keys = [&](int stage, int first, int end) {
    copy_tile<kWidth, kTileRows>(stages + 2 * stage * kTile, rows.k, at.b, first, end, at.group);
    copy_tile<kWidth, kTileRows>(stages + (2 * stage + 1) * kTile, rows.v, at.b, first, end, at.group);
    commit_copies();
  };
  const int begin = keys_seen_by(s, at.first).begin / kTileRows * kTileRows;
  const int end = keys_seen_by(s, at.end - 1).end;
  copy_tile<kWidth, kTileRows>(queries, rows.q, at.b, at.first, at.end, at.head);
  copy_keys(0, begin, end);
  const int row = at.first + thread_row();
  const VisibleRange visible[2] = {keys_seen_by(s, row), keys_seen_by(s, row + 8)};
  float sums[kWidth / 8][4] = {};
  float top[2] = {-INFINITY, -INFINITY};
  float total[2] = {};
  int stage = 0;
  for (int first = begin; first < end; first += kTileRows, stage ^= 1) {
    if (first + kTileRows < end) {
      copy_keys(stage ^ 1, first + kTileRows, end);
      wait_for_copies<1>();
    } else {
      wait_for_copies<0>();
    }
    __syncthreads();
    const bf16* keys = stages + 2 * stage * kTile;
    float scores[kTileRows / 8][4];
    row_products<kWidth>(scores, queries, keys);
    mask(scores, visible, first, -INFINITY);
    softmax_step(scores, scale, top, total, sums);
    if constexpr (kDrops) drop_keys(scores, HeadDropout<float>(s, at.b, at.head), row, first);
    add_weighted_rows<kWidth>(sums, scores, keys + kTile);
    __syncthreads();  // the next copies overwrite this stage
  }
  float factor[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    total[r] = join_quad<Sum>(total[r]);
    factor[r] = 1.0F / total[r];
    if (rows.lse != nullptr && lane_id() % 4 == 0 && row + 8 * r < at.end) {
      rows.lse[(at.b * s.heads + at.head) * s.queries + row + 8 * r] = top[r] * scale + std::log(total[r]);
    }
  }
  store_rows<kWidth>(rows.out, false, at.b, at.first, at.end, at.head, sums, factor);
}

// Calls f<kWidth>() with the width that holds head_dim: columns beyond it are zeros.
template <class F>
void dispatch_width(std::int64_t head_dim, const F& f) {
  if (head_dim <= 32) {
    f.template operator()<32>();
  } else if (head_dim <= 64) {
    f.template operator()<64>();
  } else {
    f.template operator()<128>();
  }
}

inline void forward(Device device, const AttentionSizes& s, const AttentionRows<bf16>& rows) {
  const float scale = 1.0F / std::sqrt(static_cast<float>(s.head_dim));
  dispatch_width(s.head_dim, [&]<int kWidth>() {
    const auto launch = [&](auto kernel) {
      launch_attention(kernel, device, s.batch * s.heads * tiles_of(s.queries), kTileThreads,
                       5 * kTileRows * kPitch<kWidth> * sizeof(bf16), s, rows, scale);
    };
    s.dropout.active() ? launch(forward_kernel<kWidth, true>) : launch(forward_kernel<kWidth, false>);
  });
}

}  // namespace mixgrad::cuda::tensor_core
