// The second rung: tiles of 64 queries and 64 keys in shared memory, f32 multiply-adds on the plain units (no TF32),
// the softmax online. Any strides. 256 threads: thread (y, x) of 16 x 16 owns the rows 4 y .. 4 y + 3 of a tile, of a
// matrix of scores the columns x, x + 16, .. and of an output the columns from x on, four at a time.
//   forward, dq: rows are queries, columns keys. dk, dv: rows are keys, columns queries, of all heads of the group, so
//   that each sum belongs to one thread and has one order.
// A masked score has probability 0 and rows beyond the last are read as 0; but 0 times a value that is not finite is
// NaN, so a NaN in a key or value also reaches the queries of its tile that come before it.
#pragma once

#include "ops/attention/attention_naive.cuh"
#include "ops/attention/attention_sizes.cuh"

namespace mixgrad::cuda::tiled {

constexpr int kLanes = 16;                 // threads of a row
constexpr int kRows = kTileRows / kLanes;  // rows of a thread
constexpr int kTiledThreads = kLanes * kLanes;
constexpr int kScorePitch = kTileRows + 4;  // in elements; the 4 spread the rows over the banks

// Columns of a tile's rows in shared memory, and their distance.
template <int kWidth>
constexpr int kPitch = kWidth + 4;
template <int kWidth>
constexpr int kTileElements = kTileRows* kPitch<kWidth>;

// kCount floats, read from shared memory at once.
template <int kCount>
struct alignas(4 * kCount) Floats {
  float x[kCount];
};

// Columns of an output that a thread owns: kVectors groups of kCount, 16 kCount apart.
template <int kWidth>
struct Columns {
  static constexpr int kAll = kWidth / kLanes;
  static constexpr int kCount = kAll < 4 ? kAll : 4;
  static constexpr int kVectors = kAll / kCount;
  __device__ static int at(int n) {
    return n / kCount * kLanes * kCount + static_cast<int>(threadIdx.x) % kLanes * kCount + n % kCount;
  }
};

// Rows [first,end) of a head, converted; zeros beyond them and beyond head_dim. The block must synchronize after it.
template <int kWidth, class T>
__device__ void load_tile(float* tile, const HeadRows<const T>& x, int b, int first, int end, int head) {
  for (int n = static_cast<int>(threadIdx.x); n < kTileRows * kWidth; n += kTiledThreads) {
    const int row = n / kWidth;
    const int column = n % kWidth;
    const bool there = first + row < end && column < x.head_dim;
    tile[row * kPitch<kWidth> + column] = there ? static_cast<float>(x.at(b, first + row, head)[column]) : 0.0F;
  }
}

// to[r][n] = row 4 y + r of a . row x + 16 n of b
template <int kWidth>
__device__ void row_products(float (&to)[kRows][kRows], const float* a, const float* b) {
  const int x = static_cast<int>(threadIdx.x) % kLanes;
  const int y = static_cast<int>(threadIdx.x) / kLanes;
  for (auto& row : to) {
    for (float& value : row) value = 0;
  }
#pragma unroll 4
  for (int c = 0; c < kWidth; c += 4) {
    Floats<4> left[kRows];
    Floats<4> right[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      left[r] = *reinterpret_cast<const Floats<4>*>(a + (y * kRows + r) * kPitch<kWidth> + c);
      right[r] = *reinterpret_cast<const Floats<4>*>(b + (x + r * kLanes) * kPitch<kWidth> + c);
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int n = 0; n < kRows; ++n) to[r][n] += left[r].x[k] * right[n].x[k];
      }
    }
  }
}

// to[r][n] += sum over k of weights[4 y + r][k] b[k][column n], weights as store_scores leaves them
template <int kWidth>
__device__ void add_weighted_rows(float (&to)[kRows][Columns<kWidth>::kAll], const float* weights, const float* b) {
  using Own = Columns<kWidth>;
  const int y = static_cast<int>(threadIdx.x) / kLanes;
#pragma unroll 2
  for (int k = 0; k < kTileRows; k += 4) {
    Floats<4> left[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      left[r] = *reinterpret_cast<const Floats<4>*>(weights + (y * kRows + r) * kScorePitch + k);
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int group = 0; group < Own::kVectors; ++group) {
        const auto right =
            *reinterpret_cast<const Floats<Own::kCount>*>(b + (k + j) * kPitch<kWidth> + Own::at(group * Own::kCount));
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
#pragma unroll
          for (int n = 0; n < Own::kCount; ++n) to[r][group * Own::kCount + n] += left[r].x[j] * right.x[n];
        }
      }
    }
  }
}

__device__ inline void store_scores(float* to, const float (&scores)[kRows][kRows]) {
  const int x = static_cast<int>(threadIdx.x) % kLanes;
  const int y = static_cast<int>(threadIdx.x) / kLanes;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int n = 0; n < kRows; ++n) to[(y * kRows + r) * kScorePitch + x + n * kLanes] = scores[r][n];
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

// The thread's rows of an output, times factor[r].
template <int kWidth, class T>
__device__ void store_rows(const HeadRows<T>& to, bool add, int b, int first, int end, int head,
                           const float (&sums)[kRows][Columns<kWidth>::kAll], const float (&factor)[kRows]) {
  const int y = static_cast<int>(threadIdx.x) / kLanes;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int row = first + y * kRows + r;
    if (row >= end) continue;
#pragma unroll
    for (int n = 0; n < Columns<kWidth>::kAll; ++n) {
      const int column = Columns<kWidth>::at(n);
      if (column >= to.head_dim) continue;
      T& place = to.at(b, row, head)[column];
      const float value = sums[r][n] * factor[r];
      place = static_cast<T>(add ? static_cast<float>(place) + value : value);
    }
  }
}

// out and lse of a tile of queries.
template <int kWidth, class T>
__global__ void __launch_bounds__(kTiledThreads, kWidth <= 64 ? 3 : 1)
    forward_kernel(AttentionSizes s, AttentionRows<T> rows, float scale) {
  const QueryTile at(s);
  const int x = static_cast<int>(threadIdx.x) % kLanes;
  const int y = static_cast<int>(threadIdx.x) / kLanes;
  float* queries = shared<float>();
  float* others = queries + kTileElements<kWidth>;  // keys, then their values
  float* weights = others + kTileElements<kWidth>;
  load_tile<kWidth>(queries, rows.q, at.b, at.first, at.end, at.head);
  Sight sight[kRows];
  float sums[kRows][Columns<kWidth>::kAll] = {};
  float top[kRows];
  float total[kRows] = {};
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    sight[r] = keys_seen_by(s, at.first + y * kRows + r);
    top[r] = -INFINITY;
  }
  const int end = keys_seen_by(s, at.end - 1).end;
  for (int first = keys_seen_by(s, at.first).begin / kTileRows * kTileRows; first < end; first += kTileRows) {
    load_tile<kWidth>(others, rows.k, at.b, first, end, at.group);
    __syncthreads();
    float scores[kRows][kRows];
    row_products<kWidth>(scores, queries, others);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float best = -INFINITY;
#pragma unroll
      for (int n = 0; n < kRows; ++n) {
        const float score = scores[r][n] * scale;
        scores[r][n] = sight[r].has(first + x + n * kLanes) ? score : -INFINITY;
        best = fmaxf(best, scores[r][n]);
      }
      const float next = fmaxf(top[r], join_lanes<Max>(best));
      const float shift = next == -INFINITY ? 0.0F : next;  // a row that has seen nothing yet
      const float shrink = std::exp(top[r] - shift);
      float sum = 0;
#pragma unroll
      for (int n = 0; n < kRows; ++n) sum += scores[r][n] = std::exp(scores[r][n] - shift);
      total[r] = total[r] * shrink + sum;
#pragma unroll
      for (float& value : sums[r]) value *= shrink;
      top[r] = next;
    }
    store_scores(weights, scores);
    __syncthreads();  // the keys are used, the weights there
    load_tile<kWidth>(others, rows.v, at.b, first, end, at.group);
    __syncthreads();
    add_weighted_rows<kWidth>(sums, weights, others);
    __syncthreads();
  }
  float factor[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    total[r] = join_lanes<Sum>(total[r]);
    factor[r] = 1.0F / total[r];
    const int row = at.first + y * kRows + r;
    if (rows.lse != nullptr && x == 0 && row < at.end) {
      rows.lse[(at.b * s.heads + at.head) * s.queries + row] = top[r] + std::log(total[r]);
    }
  }
  store_rows<kWidth>(rows.out, false, at.b, at.first, at.end, at.head, sums, factor);
}

// dq of a tile of queries.
template <int kWidth, class T>
__global__ void __launch_bounds__(kTiledThreads, kWidth <= 64 ? 2 : 1)
    query_gradient_kernel(AttentionSizes s, AttentionGradient<T> g, float scale) {
  const QueryTile at(s);
  const int x = static_cast<int>(threadIdx.x) % kLanes;
  const int y = static_cast<int>(threadIdx.x) / kLanes;
  float* queries = shared<float>();
  float* ups = queries + kTileElements<kWidth>;
  float* keys = ups + kTileElements<kWidth>;
  float* values = keys + kTileElements<kWidth>;  // then ds
  load_tile<kWidth>(queries, g.q, at.b, at.first, at.end, at.head);
  load_tile<kWidth>(ups, g.dout, at.b, at.first, at.end, at.head);
  Sight sight[kRows];
  float lse[kRows];
  float delta[kRows];
  float factor[kRows];
  float sums[kRows][Columns<kWidth>::kAll] = {};
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int row = at.first + y * kRows + r;
    const std::int64_t place = (at.b * s.heads + at.head) * s.queries + row;
    sight[r] = keys_seen_by(s, row);
    lse[r] = row < at.end ? g.lse[place] : 0.0F;
    delta[r] = row < at.end ? g.delta[place] : 0.0F;
    factor[r] = scale;
  }
  const int end = keys_seen_by(s, at.end - 1).end;
  for (int first = keys_seen_by(s, at.first).begin / kTileRows * kTileRows; first < end; first += kTileRows) {
    load_tile<kWidth>(keys, g.k, at.b, first, end, at.group);
    load_tile<kWidth>(values, g.v, at.b, first, end, at.group);
    __syncthreads();
    float scores[kRows][kRows];
    float slopes[kRows][kRows];
    row_products<kWidth>(scores, queries, keys);
    row_products<kWidth>(slopes, ups, values);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int n = 0; n < kRows; ++n) {
        const float p = std::exp(scores[r][n] * scale - lse[r]);
        slopes[r][n] = sight[r].has(first + x + n * kLanes) ? p * (slopes[r][n] - delta[r]) : 0.0F;
      }
    }
    __syncthreads();  // the values are used
    store_scores(values, slopes);
    __syncthreads();
    add_weighted_rows<kWidth>(sums, values, keys);
    __syncthreads();
  }
  store_rows<kWidth>(g.dq, g.add_q, at.b, at.first, at.end, at.head, sums, factor);
}

// dk and dv of a tile of keys.
template <int kWidth, class T>
__global__ void __launch_bounds__(kTiledThreads, kWidth <= 64 ? 2 : 1)
    key_gradient_kernel(AttentionSizes s, AttentionGradient<T> g, float scale) {
  const KeyTile at(s);
  const int x = static_cast<int>(threadIdx.x) % kLanes;
  const int y = static_cast<int>(threadIdx.x) / kLanes;
  float* keys = shared<float>();
  float* values = keys + kTileElements<kWidth>;
  float* queries = values + kTileElements<kWidth>;
  float* ups = queries + kTileElements<kWidth>;
  float* weights = ups + kTileElements<kWidth>;
  load_tile<kWidth>(keys, g.k, at.b, at.first, at.end, at.group);
  load_tile<kWidth>(values, g.v, at.b, at.first, at.end, at.group);
  Sight sight[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) sight[r] = queries_that_see(s, at.first + y * kRows + r);
  float sums_k[kRows][Columns<kWidth>::kAll] = {};
  float sums_v[kRows][Columns<kWidth>::kAll] = {};
  const int begin = queries_that_see(s, at.first).begin / kTileRows * kTileRows;
  const int end = queries_that_see(s, at.end - 1).end;
  const auto per_group = static_cast<int>(s.heads / s.kv_heads);
  for (int head = at.group * per_group; head < (at.group + 1) * per_group; ++head) {
    for (int first = begin; first < end; first += kTileRows) {
      load_tile<kWidth>(queries, g.q, at.b, first, end, head);
      load_tile<kWidth>(ups, g.dout, at.b, first, end, head);
      __syncthreads();
      float scores[kRows][kRows];
      float slopes[kRows][kRows];
      row_products<kWidth>(scores, keys, queries);
      row_products<kWidth>(slopes, values, ups);
#pragma unroll
      for (int n = 0; n < kRows; ++n) {
        const int i = first + x + n * kLanes;
        const std::int64_t place = (at.b * s.heads + head) * s.queries + i;
        const float lse = i < end ? g.lse[place] : 0.0F;
        const float delta = i < end ? g.delta[place] : 0.0F;
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          const bool sees = sight[r].has(i);
          scores[r][n] = sees ? std::exp(scores[r][n] * scale - lse) : 0.0F;
          slopes[r][n] = sees ? scores[r][n] * (slopes[r][n] - delta) : 0.0F;
        }
      }
      store_scores(weights, scores);
      __syncthreads();
      add_weighted_rows<kWidth>(sums_v, weights, ups);
      __syncthreads();
      store_scores(weights, slopes);
      __syncthreads();
      add_weighted_rows<kWidth>(sums_k, weights, queries);
      __syncthreads();
    }
  }
  float factor[kRows];
  for (float& value : factor) value = scale;
  if (g.dk.data != nullptr) store_rows<kWidth>(g.dk, g.add_k, at.b, at.first, at.end, at.group, sums_k, factor);
  for (float& value : factor) value = 1;
  if (g.dv.data != nullptr) store_rows<kWidth>(g.dv, g.add_v, at.b, at.first, at.end, at.group, sums_v, factor);
}

// Bytes of `tiles` tiles of rows and `scores` tiles of scores.
inline std::size_t shared_bytes(int width, int tiles, int scores) {
  return sizeof(float) * kTileRows * (static_cast<std::size_t>(width + 4) * tiles + kScorePitch * scores);
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
  dispatch_width(s.head_dim, [&]<int kWidth>() { bytes = shared_bytes(kWidth, 4, 1); });
  return bytes;
}

template <class T>
void forward(Device device, const AttentionSizes& s, const AttentionRows<T>& rows) {
  dispatch_width(s.head_dim, [&]<int kWidth>() {
    launch_attention(forward_kernel<kWidth, T>, device, s.batch * s.heads * tiles_of(s.queries), kTiledThreads,
                     shared_bytes(kWidth, 2, 1), s, rows, 1.0F / std::sqrt(static_cast<float>(s.head_dim)));
  });
}

template <class T>
void backward(Device device, const AttentionSizes& s, const AttentionGradient<T>& g) {
  naive::row_products<T>(device, s, g);
  const float scale = 1.0F / std::sqrt(static_cast<float>(s.head_dim));
  dispatch_width(s.head_dim, [&]<int kWidth>() {
    if (g.dq.data != nullptr) {
      launch_attention(query_gradient_kernel<kWidth, T>, device, s.batch * s.heads * tiles_of(s.queries), kTiledThreads,
                       shared_bytes(kWidth, kWidth < kTileRows ? 3 : 4, kWidth < kTileRows ? 1 : 0), s, g, scale);
    }
    if (g.dk.data != nullptr || g.dv.data != nullptr) {
      launch_attention(key_gradient_kernel<kWidth, T>, device, s.batch * s.kv_heads * tiles_of(s.keys), kTiledThreads,
                       shared_bytes(kWidth, 4, 1), s, g, scale);
    }
  });
}

}  // namespace mixgrad::cuda::tiled
