// The second implementation: tiles of 64 queries and 64 keys in shared memory, f32 multiply-adds on the plain units (no
// TF32), the softmax online. Any strides. Thread (y, x), x < 16, owns kRows rows of a tile from y kRows on; of a matrix
// of scores the columns x, x + 16, x + 32, x + 48; of an output the columns of Columns.
//   forward, dq: rows are queries, columns keys. dk, dv: rows are keys, columns queries, of all heads of the group, so
//   that each sum belongs to one thread and has one order.
// A masked score has probability 0 and rows beyond the last are read as 0; but 0 times a value that is not finite is
// NaN, so a NaN in a key or value also reaches the queries of its tile that come before it.
#pragma once

#include "core/cuda/async_copy.cuh"
#include "ops/attention/attention_naive.cuh"
#include "ops/attention/attention_sizes.cuh"

namespace mixgrad::cuda::tiled {

constexpr int kLanes = 16;                   // threads of a row
constexpr int kScores = kTileRows / kLanes;  // columns of scores of a thread
constexpr int kScorePitch = kTileRows + 4;   // in elements; the 4 spread the rows over the banks

// Rows of a thread: with 8, shared memory is read less; at 128 columns the sums of 4 fill the registers. H100, f32, B64
// H6 T256 D64, forward / backward: 0.162 / 0.618 ms with 8, 0.173 / 0.615 with 4; 0.32 / 1.07 before the copies
// overlapped.
template <int kWidth>
constexpr int kRows = kWidth <= 64 ? 8 : 4;
template <int kWidth>
constexpr int kThreads = kLanes* kTileRows / kRows<kWidth>;

// Columns of a tile's rows in shared memory, and their distance.
template <int kWidth>
constexpr int kPitch = kWidth + 4;
template <int kWidth>
constexpr int kTileElements = kTileRows*(kWidth + 4);

// The thread's first row in a tile, and its x.
template <int kWidth>
__device__ int thread_row() {
  return static_cast<int>(threadIdx.x) / kLanes * kRows<kWidth>;
}
__device__ inline int thread_lane() { return static_cast<int>(threadIdx.x) % kLanes; }

// kCount floats, read from shared memory at once.
template <int kCount>
struct alignas(4 * kCount) Floats {
  float x[kCount];
};

// Columns of an output that a thread owns: groups of kCount neighbours, 16 kCount apart.
template <int kWidth>
struct Columns {
  static constexpr int kAll = kWidth / kLanes;
  static constexpr int kCount = kAll < 4 ? kAll : 4;
  __device__ static int at(int n) {
    return n / kCount * kLanes * kCount + static_cast<int>(threadIdx.x) % kLanes * kCount + n % kCount;
  }
};

// Rows [first,end) of a head, in f32; zeros beyond them and beyond head_dim. Asynchronous (async_copy.cuh) for f32.
template <int kWidth, class T>
__device__ void load_tile(float* tile, const HeadRows<const T>& x, int b, int first, int end, int head) {
  const T* from = x.at(b, first, head);
  const auto here = static_cast<int>(threadIdx.x);
  if constexpr (std::is_same_v<T, float>) {
    if (x.stride % 4 == 0 && x.head_dim % 4 == 0 && reinterpret_cast<std::uintptr_t>(from) % 16 == 0) {
      constexpr int kChunks = kWidth / 4;
#pragma unroll
      for (int n = here; n < kTileRows * kChunks; n += kThreads<kWidth>) {
        const int row = n / kChunks;
        const int column = n % kChunks * 4;
        const bool there = first + row < end && column < x.head_dim;
        copy_chunk(tile + row * kPitch<kWidth> + column, there ? from + row * x.stride + column : x.data, there);
      }
      return;
    }
  }
#pragma unroll 8
  for (int n = here; n < kTileRows * kWidth; n += kThreads<kWidth>) {
    const int row = n / kWidth;
    const int column = n % kWidth;
    const bool there = first + row < end && column < x.head_dim;
    float* to = tile + row * kPitch<kWidth> + column;
    const T* source = there ? from + row * x.stride + column : x.data;
    if constexpr (std::is_same_v<T, float>) {
      copy_float(to, source, there);
    } else {
      *to = there ? static_cast<float>(*source) : 0.0F;
    }
  }
}

// to[r][n] = row y kRows + r of a . row x + 16 n of b
template <int kWidth>
__device__ void row_products(float (&to)[kRows<kWidth>][kScores], const float* a, const float* b) {
  const float* row_a = a + thread_row<kWidth>() * kPitch<kWidth>;
  const float* row_b = b + thread_lane() * kPitch<kWidth>;
#pragma unroll
  for (auto& row : to) {
#pragma unroll
    for (float& value : row) value = 0;
  }
#pragma unroll 2
  for (int c = 0; c < kWidth; c += 4) {
    Floats<4> right[kScores];
#pragma unroll
    for (int n = 0; n < kScores; ++n) {
      right[n] = *reinterpret_cast<const Floats<4>*>(row_b + n * kLanes * kPitch<kWidth> + c);
    }
#pragma unroll
    for (int r = 0; r < kRows<kWidth>; ++r) {
      const auto left = *reinterpret_cast<const Floats<4>*>(row_a + r * kPitch<kWidth> + c);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
#pragma unroll
        for (int n = 0; n < kScores; ++n) to[r][n] += left.x[k] * right[n].x[k];
      }
    }
  }
}

// to[r][n] += sum over k of weights[y kRows + r][k] b[k][column n], weights as store_scores leaves them
template <int kWidth>
__device__ void add_weighted_rows(float (&to)[kRows<kWidth>][Columns<kWidth>::kAll], const float* weights,
                                  const float* b) {
  using Own = Columns<kWidth>;
  const float* row = weights + thread_row<kWidth>() * kScorePitch;
#pragma unroll 2
  for (int k = 0; k < kTileRows; k += 4) {
    Floats<4> left[kRows<kWidth>];
#pragma unroll
    for (int r = 0; r < kRows<kWidth>; ++r) left[r] = *reinterpret_cast<const Floats<4>*>(row + r * kScorePitch + k);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int group = 0; group < Own::kAll; group += Own::kCount) {
        const auto right = *reinterpret_cast<const Floats<Own::kCount>*>(b + (k + j) * kPitch<kWidth> + Own::at(group));
#pragma unroll
        for (int r = 0; r < kRows<kWidth>; ++r) {
#pragma unroll
          for (int n = 0; n < Own::kCount; ++n) to[r][group + n] += left[r].x[j] * right.x[n];
        }
      }
    }
  }
}

template <int kWidth>
__device__ void store_scores(float* to, const float (&scores)[kRows<kWidth>][kScores]) {
  float* target = to + thread_row<kWidth>() * kScorePitch + thread_lane();
#pragma unroll
  for (int r = 0; r < kRows<kWidth>; ++r) {
#pragma unroll
    for (int n = 0; n < kScores; ++n) target[r * kScorePitch + n * kLanes] = scores[r][n];
  }
}

// Over the 16 threads that share rows; every one of them gets the result.
template <class Join>
__device__ float join_lanes(float value) {
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    value = Join::join(value, __shfl_xor_sync(0xffffffffU, value, distance));
  }
  return value;
}

// The thread's rows of an output, times factor; `first` is the tile's first row.
template <int kWidth, class T>
__device__ void store_rows(const HeadRows<T>& to, bool add, int b, int first, int end, int head,
                           const float (&sums)[kRows<kWidth>][Columns<kWidth>::kAll], float factor) {
#pragma unroll
  for (int r = 0; r < kRows<kWidth>; ++r) {
    const int row = first + thread_row<kWidth>() + r;
    if (row >= end) continue;
    T* target = to.at(b, row, head);
#pragma unroll
    for (int n = 0; n < Columns<kWidth>::kAll; ++n) {
      const int column = Columns<kWidth>::at(n);
      if (column >= to.head_dim) continue;
      const float value = sums[r][n] * factor;
      target[column] = static_cast<T>(add ? static_cast<float>(target[column]) + value : value);
    }
  }
}

// One step of the softmax over the columns of a tile of scores, which become weights: for each row the largest score so
// far, and the thread's part of the sum of the weights; sums of an output shrink along.
template <int kOwn, int kColumns>
__device__ void softmax_step(float (&scores)[kOwn][kScores], const VisibleRange (&visible)[kOwn], int first,
                             float scale, float (&top)[kOwn], float (&total)[kOwn], float (&sums)[kOwn][kColumns]) {
#pragma unroll
  for (int r = 0; r < kOwn; ++r) {
    float best = -INFINITY;
#pragma unroll
    for (int n = 0; n < kScores; ++n) {
      const bool sees = visible[r].has(first + thread_lane() + n * kLanes);
      scores[r][n] = sees ? scores[r][n] * scale : -INFINITY;
      best = fmaxf(best, scores[r][n]);
    }
    const float next = fmaxf(top[r], join_lanes<Max>(best));
    const float shift = next == -INFINITY ? 0.0F : next;  // a row that has seen nothing yet
    const float shrink = std::exp(top[r] - shift);
    float sum = 0;
#pragma unroll
    for (int n = 0; n < kScores; ++n) sum += scores[r][n] = std::exp(scores[r][n] - shift);
    total[r] = total[r] * shrink + sum;
#pragma unroll
    for (float& value : sums[r]) value *= shrink;
    top[r] = next;
  }
}

// Leaves out weights of a tile, whose rows are the queries from first_query on and columns the keys from first_key on.
template <int kWidth>
__device__ void drop_scores(float (&scores)[kRows<kWidth>][kScores], const HeadDropout<float>& drop, int first_query,
                            int first_key) {
#pragma unroll
  for (int r = 0; r < kRows<kWidth>; ++r) {
#pragma unroll
    for (int n = 0; n < kScores; ++n) {
      const int i = first_query + thread_row<kWidth>() + r;
      scores[r][n] = dropped(drop.at(i, first_key + thread_lane() + n * kLanes), scores[r][n]);
    }
  }
}

// out and lse of a tile of queries.
template <int kWidth, bool kDrops, class T>
__global__ void __launch_bounds__(kThreads<kWidth>, kWidth <= 64 ? 3 : 1)
    forward_kernel(AttentionSizes s, AttentionRows<T> rows, float scale) {
  const QueryTile at(s);
  float* queries = shared<float>();
  float* keys = queries + kTileElements<kWidth>;
  float* values = keys + kTileElements<kWidth>;
  float* weights = values + kTileElements<kWidth>;
  const int begin = keys_seen_by(s, at.first).begin / kTileRows * kTileRows;
  const int end = keys_seen_by(s, at.end - 1).end;
  load_tile<kWidth>(queries, rows.q, at.b, at.first, at.end, at.head);
  load_tile<kWidth>(keys, rows.k, at.b, begin, end, at.group);
  commit_copies();
  load_tile<kWidth>(values, rows.v, at.b, begin, end, at.group);
  commit_copies();
  VisibleRange visible[kRows<kWidth>];
  float sums[kRows<kWidth>][Columns<kWidth>::kAll] = {};
  float top[kRows<kWidth>];
  float total[kRows<kWidth>] = {};
#pragma unroll
  for (int r = 0; r < kRows<kWidth>; ++r) {
    visible[r] = keys_seen_by(s, at.first + thread_row<kWidth>() + r);
    top[r] = -INFINITY;
  }
  for (int first = begin; first < end; first += kTileRows) {
    wait_for_copies<1>();
    __syncthreads();  // the keys are there
    float scores[kRows<kWidth>][kScores];
    row_products<kWidth>(scores, queries, keys);
    softmax_step(scores, visible, first, scale, top, total, sums);
    if constexpr (kDrops) drop_scores<kWidth>(scores, HeadDropout<float>(s, at.b, at.head), at.first, first);
    store_scores<kWidth>(weights, scores);
    wait_for_copies<0>();
    __syncthreads();  // values and weights are there, the keys are used
    if (first + kTileRows < end) load_tile<kWidth>(keys, rows.k, at.b, first + kTileRows, end, at.group);
    commit_copies();
    add_weighted_rows<kWidth>(sums, weights, values);
    __syncthreads();  // values and weights are used
    if (first + kTileRows < end) load_tile<kWidth>(values, rows.v, at.b, first + kTileRows, end, at.group);
    commit_copies();
  }
#pragma unroll
  for (int r = 0; r < kRows<kWidth>; ++r) {
    total[r] = join_lanes<Sum>(total[r]);
#pragma unroll
    for (float& value : sums[r]) value /= total[r];
    const int row = at.first + thread_row<kWidth>() + r;
    if (rows.lse != nullptr && thread_lane() == 0 && row < at.end) {
      rows.lse[(at.b * s.heads + at.head) * s.queries + row] = top[r] + std::log(total[r]);
    }
  }
  store_rows<kWidth>(rows.out, false, at.b, at.first, at.end, at.head, sums, 1);
}

// Shared memory of a block: `tiles` tiles of rows and one of scores.
inline std::size_t shared_bytes(int width, int tiles) {
  return sizeof(float) * kTileRows * (static_cast<std::size_t>(width + 4) * tiles + kScorePitch);
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

inline std::size_t most_shared_bytes(const AttentionSizes& s) {
  std::size_t bytes = 0;
  dispatch_width(s.head_dim, [&]<int kWidth>() { bytes = shared_bytes(kWidth, 4); });
  return bytes;
}

template <class T>
void forward(Device device, const AttentionSizes& s, const AttentionRows<T>& rows) {
  const float scale = 1.0F / std::sqrt(static_cast<float>(s.head_dim));
  dispatch_width(s.head_dim, [&]<int kWidth>() {
    const auto launch = [&](auto kernel) {
      launch_attention(kernel, device, s.batch * s.heads * tiles_of(s.queries), kThreads<kWidth>,
                       shared_bytes(kWidth, 3), s, rows, scale);
    };
    s.dropout.active() ? launch(forward_kernel<kWidth, true, T>) : launch(forward_kernel<kWidth, false, T>);
  });
}

}  // namespace mixgrad::cuda::tiled
