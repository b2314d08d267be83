// The third implementation: tiles through the tensor cores (mma.sync), asynchronous copies into shared memory, the
// softmax online in f32. T is bf16 (bf16 products, f32 sums), or float where MatmulPrecision allows it: then operands
// of products, probabilities among them, are rounded to tf32, and all else is f32. Needs compute capability 8.0, heads
// of whole 16-byte chunks, and a head_dim that 8 divides. This file: what forward and backward share, and forward. The
// algorithm is that of Dao, FlashAttention-2 (2023).
//
// A block of 4 warps owns a tile of 64 rows; a warp 16 of them, against all columns of the other tile. So sums and
// statistics of a row stay in the registers of 4 threads, and every sum has one order.
//
// Two neighbouring C of a product (fragments: core/cuda/tensor_core.cuh), rounded to bf16, are one A: scores become the
// weights of the second product in place. In tf32 one C is one A whose columns stand in another order, 0 2 4 6 1 3 5 7;
// the rows of B are taken in the same order, and the sum is over the same products.
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

// Elements that are copied at once.
template <class T>
constexpr int kChunk = 16 / static_cast<int>(sizeof(T));

// Elements from row to row of a tile: 16 bytes more than the row, so that 8 rows of ldmatrix meet all 32 banks.
template <class T, int kWidth>
constexpr int kPitch = kWidth + kChunk<T>;

// Keys of a step of forward: with f32, two stages of 64 would leave room for two blocks of 64 wide on a multiprocessor.
template <class T>
constexpr int kForwardKeys = std::is_same_v<T, bf16> ? kTileRows : kTileRows / 2;

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
template <int kWidth, int kRows, class T>
__device__ void copy_tile(T* tile, const HeadRows<const T>& x, int b, int first, int end, int head) {
  constexpr int kChunks = kWidth / kChunk<T>;
  const T* from = x.at(b, first, head);
#pragma unroll
  for (int n = static_cast<int>(threadIdx.x); n < kRows * kChunks; n += kTileThreads) {
    const int row = n / kChunks;
    const int column = n % kChunks * kChunk<T>;
    const bool there = first + row < end && column < x.head_dim;
    copy_chunk(tile + row * kPitch<T, kWidth> + column, there ? from + row * x.stride + column : x.data, there);
  }
}

// Operands of a product as they come out of a tile of T: of f32 they are rounded.
template <class T>
__device__ void load_operands(unsigned (&to)[4], const T* row) {
  load_matrices(to, row);
  if constexpr (std::is_same_v<T, float>) {
#pragma unroll
    for (unsigned& x : to) x = to_tf32(__uint_as_float(x));
  }
}

// to[n] = the warp's 16 rows of a . the rows 8 n .. 8 n + 7 of b, over kWidth columns
template <int kWidth, class T, int kTiles>
__device__ void row_products(float (&to)[kTiles][4], const T* a, const T* b) {
  const int lane = lane_id();
  const T* row_a = a + (warp_id() * kWarpRows + lane % 16) * kPitch<T, kWidth> + lane / 16 * kChunk<T>;
  const T* row_b = b + (lane / 16 * 8 + lane % 8) * kPitch<T, kWidth> + lane / 8 % 2 * kChunk<T>;
#pragma unroll
  for (auto& tile : to) {
#pragma unroll
    for (float& value : tile) value = 0;
  }
#pragma unroll
  for (int k = 0; k < kWidth; k += 2 * kChunk<T>) {
    unsigned left[4];
    load_operands(left, row_a + k);
#pragma unroll
    for (int n = 0; n < kTiles; n += 2) {
      unsigned right[4];
      load_operands(right, row_b + n * 8 * kPitch<T, kWidth> + k);
      if constexpr (std::is_same_v<T, bf16>) {
        multiply_add(to[n], left, right[0], right[1]);
        multiply_add(to[n + 1], left, right[2], right[3]);
      } else {
        multiply_add_tf32(to[n], left, right[0], right[1]);
        multiply_add_tf32(to[n + 1], left, right[2], right[3]);
      }
    }
  }
}

// to += weights (16 x 8 kTiles, rounded to bf16) times the rows of b
template <int kWidth, int kTiles>
__device__ void add_weighted_rows(float (&to)[kWidth / 8][4], const float (&weights)[kTiles][4], const bf16* b) {
  const int lane = lane_id();
  const bf16* row_b = b + lane % 16 * kPitch<bf16, kWidth> + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kTiles; k += 2) {
    const unsigned left[4] = {packed(weights[k][0], weights[k][1]), packed(weights[k][2], weights[k][3]),
                              packed(weights[k + 1][0], weights[k + 1][1]),
                              packed(weights[k + 1][2], weights[k + 1][3])};
#pragma unroll
    for (int n = 0; n < kWidth / 8; n += 2) {
      unsigned right[4];
      load_transposed_matrices(right, row_b + k * 8 * kPitch<bf16, kWidth> + n * 8);
      multiply_add(to[n], left, right[0], right[1]);
      multiply_add(to[n + 1], left, right[2], right[3]);
    }
  }
}

// The same with weights and b rounded to tf32. Columns 2 t and 2 t + 1 of the weights are what a thread has of them, so
// they stand for columns t and t + 4 of A. The rows of b meet all 32 banks: a pitch is 4 more than a multiple of 32.
template <int kWidth, int kTiles>
__device__ void add_weighted_rows(float (&to)[kWidth / 8][4], const float (&weights)[kTiles][4], const float* b) {
  constexpr int kRow = kPitch<float, kWidth>;
  static_assert(kRow % 32 == 4);
  const float* from = b + thread_column() * kRow + lane_id() / 4;
#pragma unroll
  for (int k = 0; k < kTiles; ++k) {
    const unsigned left[4] = {to_tf32(weights[k][0]), to_tf32(weights[k][2]), to_tf32(weights[k][1]),
                              to_tf32(weights[k][3])};
#pragma unroll
    for (int n = 0; n < kWidth / 8; ++n) {
      const float* pair = from + k * 8 * kRow + n * 8;
      multiply_add_tf32(to[n], left, to_tf32(pair[0]), to_tf32(pair[kRow]));
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

// Two neighbouring elements of an output, (+)= left and right.
__device__ inline void store_pair(bf16* to, bool add, float left, float right) {
  auto* pair = reinterpret_cast<unsigned*>(to);
  *pair = add ? packed(lower(*pair) + left, upper(*pair) + right) : packed(left, right);
}
__device__ inline void store_pair(float* to, bool add, float left, float right) {
  auto* pair = reinterpret_cast<float2*>(to);
  const float2 before = add ? *pair : float2{};
  *pair = {before.x + left, before.y + right};
}

// The thread's two rows of an output, times factor[r]; `first` is the tile's first row.
template <int kWidth, class T>
__device__ void store_rows(const HeadRows<T>& to, bool add, int b, int first, int end, int head,
                           const float (&sums)[kWidth / 8][4], const float (&factor)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first + thread_row() + 8 * r;
    if (row >= end) continue;
    T* target = to.at(b, row, head) + thread_column();
#pragma unroll
    for (int n = 0; n < kWidth / 8; ++n) {
      if (n * 8 >= to.head_dim) continue;
      store_pair(target + n * 8, add, sums[n][2 * r] * factor[r], sums[n][2 * r + 1] * factor[r]);
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
template <class T, int kWidth, bool kDrops>
__global__ void __launch_bounds__(kTileThreads, kWidth <= 64 ? 4 : 2)
    forward_kernel(AttentionSizes s, AttentionRows<T> rows, float scale) {
  constexpr int kKeys = kForwardKeys<T>;
  constexpr int kKeyTile = kKeys * kPitch<T, kWidth>;
  const QueryTile at(s);
  T* queries = shared<T>();
  T* stages = queries + kTileRows * kPitch<T, kWidth>;
  const auto copy_keys = [&](int stage, int first, int end) {
    copy_tile<kWidth, kKeys>(stages + 2 * stage * kKeyTile, rows.k, at.b, first, end, at.group);
    copy_tile<kWidth, kKeys>(stages + (2 * stage + 1) * kKeyTile, rows.v, at.b, first, end, at.group);
    commit_copies();
  };
  const int begin = keys_seen_by(s, at.first).begin / kKeys * kKeys;
  const int end = keys_seen_by(s, at.end - 1).end;
  copy_tile<kWidth, kTileRows>(queries, rows.q, at.b, at.first, at.end, at.head);
  copy_keys(0, begin, end);
  const int row = at.first + thread_row();
  const VisibleRange visible[2] = {keys_seen_by(s, row), keys_seen_by(s, row + 8)};
  float sums[kWidth / 8][4] = {};
  float top[2] = {-INFINITY, -INFINITY};
  float total[2] = {};
  int stage = 0;
  for (int first = begin; first < end; first += kKeys, stage ^= 1) {
    if (first + kKeys < end) {
      copy_keys(stage ^ 1, first + kKeys, end);
      wait_for_copies<1>();
    } else {
      wait_for_copies<0>();
    }
    __syncthreads();
    const T* keys = stages + 2 * stage * kKeyTile;
    float scores[kKeys / 8][4];
    row_products<kWidth>(scores, queries, keys);
    mask(scores, visible, first, -INFINITY);
    softmax_step(scores, scale, top, total, sums);
    if constexpr (kDrops) drop_keys(scores, HeadDropout<float>(s, at.b, at.head), row, first);
    add_weighted_rows<kWidth>(sums, scores, keys + kKeyTile);
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

template <class T>
void forward(Device device, const AttentionSizes& s, const AttentionRows<T>& rows) {
  const float scale = 1.0F / std::sqrt(static_cast<float>(s.head_dim));
  dispatch_width(s.head_dim, [&]<int kWidth>() {
    const auto launch = [&](auto kernel) {
      launch_attention(kernel, device, s.batch * s.heads * tiles_of(s.queries), kTileThreads,
                       (kTileRows + 4 * kForwardKeys<T>)*kPitch<T, kWidth> * sizeof(T), s, rows, scale);
    };
    s.dropout.active() ? launch(forward_kernel<T, kWidth, true>) : launch(forward_kernel<T, kWidth, false>);
  });
}

}  // namespace mixgrad::cuda::tensor_core
