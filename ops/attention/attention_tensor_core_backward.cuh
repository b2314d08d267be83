// The third implementation, backward. Two kernels, each of which computes the probabilities again, so that every
// gradient belongs to one block and no sum needs atomics: dq by tiles of queries (7 products in all instead of 5), dk
// and dv by tiles of keys over all heads of the group. The first also writes delta for the second.
//   rows of dq's tiles are queries, columns keys;   rows of dk's and dv's are keys, columns queries (scores transposed)
//
// Measured on an H100 (B64 H6 T256 D64, B32 H12 T1024 D64) and not kept: leaving out the 16 x 16 corners that no row of
// a warp sees costs more in branches (0.131, 1.048 ms) than it saves (0.118, 0.899 ms).
#pragma once

#include "ops/attention/attention_tensor_core.cuh"

namespace mixgrad::cuda::tensor_core {

// Columns of a tile of scores: at 128 wide and in f32, the sums in registers and two stages in shared memory leave room
// for 32.
template <class T, int kWidth>
constexpr int kColumns = (std::is_same_v<T, bf16> && kWidth <= 64) ? 64 : 32;

// Adds the products of the elements of two chunks of 16 bytes.
__device__ inline void add_products(float& sum, const bf16* left, const bf16* right) {
  const uint4 a = *reinterpret_cast<const uint4*>(left);
  const uint4 b = *reinterpret_cast<const uint4*>(right);
  sum += lower(a.x) * lower(b.x) + upper(a.x) * upper(b.x) + lower(a.y) * lower(b.y) + upper(a.y) * upper(b.y);
  sum += lower(a.z) * lower(b.z) + upper(a.z) * upper(b.z) + lower(a.w) * lower(b.w) + upper(a.w) * upper(b.w);
}
__device__ inline void add_products(float& sum, const float* left, const float* right) {
  const float4 a = *reinterpret_cast<const float4*>(left);
  const float4 b = *reinterpret_cast<const float4*>(right);
  sum += a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}

// dout . out of the thread's two rows, by the 4 threads that share them.
template <int kWidth, class T>
__device__ void row_deltas(float (&delta)[2], const AttentionGradient<T>& g, const T* ups, const QueryTile& at) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = thread_row() + 8 * r;
    float sum = 0;
    if (at.first + row < at.end) {
      const T* out = g.out.at(at.b, at.first + row, at.head);
      for (int column = lane_id() % 4 * kChunk<T>; column < g.out.head_dim; column += 4 * kChunk<T>) {
        add_products(sum, ups + row * kPitch<T, kWidth> + column, out + column);
      }
    }
    delta[r] = join_quad<Sum>(sum);
  }
}

// dq and delta of a tile of queries. Shared memory: q, dout, and two stages of keys and values.
template <class T, int kWidth, bool kDrops>
__global__ void __launch_bounds__(kTileThreads, kWidth <= 64 ? (std::is_same_v<T, bf16> ? 4 : 3) : 2)
    query_gradient_kernel(AttentionSizes s, AttentionGradient<T> g, float scale) {
  constexpr int kTile = kTileRows * kPitch<T, kWidth>;
  constexpr int kKeys = kColumns<T, kWidth>;
  constexpr int kKeyTile = kKeys * kPitch<T, kWidth>;
  const QueryTile at(s);
  T* queries = shared<T>();
  T* ups = queries + kTile;
  T* stages = ups + kTile;
  const auto copy_keys = [&](int stage, int first, int end) {
    copy_tile<kWidth, kKeys>(stages + 2 * stage * kKeyTile, g.k, at.b, first, end, at.group);
    copy_tile<kWidth, kKeys>(stages + (2 * stage + 1) * kKeyTile, g.v, at.b, first, end, at.group);
    commit_copies();
  };
  const int begin = keys_seen_by(s, at.first).begin / kKeys * kKeys;
  const int end = keys_seen_by(s, at.end - 1).end;
  copy_tile<kWidth, kTileRows>(queries, g.q, at.b, at.first, at.end, at.head);
  copy_tile<kWidth, kTileRows>(ups, g.dout, at.b, at.first, at.end, at.head);
  commit_copies();
  copy_keys(0, begin, end);
  wait_for_copies<1>();
  __syncthreads();
  float delta[2];
  row_deltas<kWidth>(delta, g, ups, at);
  const int row = at.first + thread_row();
  const VisibleRange visible[2] = {keys_seen_by(s, row), keys_seen_by(s, row + 8)};
  float shift[2] = {};  // lse, in powers of 2
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (row + 8 * r >= at.end) continue;
    const std::int64_t row_index = (at.b * s.heads + at.head) * s.queries + row + 8 * r;
    shift[r] = g.lse[row_index] * kLog2E;
    if (lane_id() % 4 == 0) g.delta[row_index] = delta[r];
  }
  float sums[kWidth / 8][4] = {};
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
    float slopes[kKeys / 8][4];
    row_products<kWidth>(scores, queries, keys);
    row_products<kWidth>(slopes, ups, keys + kKeyTile);
    if constexpr (kDrops) drop_keys(slopes, HeadDropout<float>(s, at.b, at.head), row, first);
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float p = exp2_approximately(scores[n][e] * (scale * kLog2E) - shift[e / 2]);
        slopes[n][e] = p * (slopes[n][e] - delta[e / 2]);
      }
    }
    mask(slopes, visible, first, 0);
    add_weighted_rows<kWidth>(sums, slopes, keys);
    __syncthreads();  // the next copies overwrite this stage
  }
  const float factor[2] = {scale, scale};
  store_rows<kWidth>(g.dq, g.add_q, at.b, at.first, at.end, at.head, sums, factor);
}

// dk and dv of a tile of keys. Shared memory: k, v, and two stages of queries, dout, lse and delta.
template <class T, int kWidth, bool kDrops>
__global__ void __launch_bounds__(kTileThreads, kWidth <= 64 ? 3 : 2)
    key_gradient_kernel(AttentionSizes s, AttentionGradient<T> g, float scale) {
  constexpr int kTile = kTileRows * kPitch<T, kWidth>;
  constexpr int kQueries = kColumns<T, kWidth>;
  constexpr int kQueryTile = kQueries * kPitch<T, kWidth>;
  const KeyTile at(s);
  T* keys = shared<T>();
  T* values = keys + kTile;
  T* stages = values + kTile;
  auto* statistics = reinterpret_cast<float*>(stages + 4 * kQueryTile);  // of each stage lse, then delta
  const int begin = queries_that_see(s, at.first).begin / kQueries * kQueries;
  const int end = queries_that_see(s, at.end - 1).end;
  const int steps = begin < end ? (end - begin + kQueries - 1) / kQueries : 0;  // of one head
  const auto per_group = static_cast<int>(s.heads / s.kv_heads);
  const auto copy_queries = [&](int stage, int step) {
    const int head = at.group * per_group + step / steps;
    const int first = begin + step % steps * kQueries;
    copy_tile<kWidth, kQueries>(stages + 2 * stage * kQueryTile, g.q, at.b, first, end, head);
    copy_tile<kWidth, kQueries>(stages + (2 * stage + 1) * kQueryTile, g.dout, at.b, first, end, head);
    const int i = static_cast<int>(threadIdx.x) % kQueries;
    const bool there = first + i < end;
    const std::int64_t row_index = (at.b * s.heads + head) * s.queries + (there ? first + i : 0);
    float* to = statistics + 2 * stage * kQueries + static_cast<int>(threadIdx.x);
    if (static_cast<int>(threadIdx.x) < kQueries) {
      copy_float(to, g.lse + row_index, there);
    } else if (static_cast<int>(threadIdx.x) < 2 * kQueries) {
      copy_float(to, g.delta + row_index, there);
    }
    commit_copies();
  };
  copy_tile<kWidth, kTileRows>(keys, g.k, at.b, at.first, at.end, at.group);
  copy_tile<kWidth, kTileRows>(values, g.v, at.b, at.first, at.end, at.group);
  if (steps > 0) copy_queries(0, 0);
  const int row = at.first + thread_row();
  const VisibleRange visible[2] = {queries_that_see(s, row), queries_that_see(s, row + 8)};
  float sums_k[kWidth / 8][4] = {};
  float sums_v[kWidth / 8][4] = {};
  for (int step = 0; step < steps * per_group; ++step) {
    const int stage = step % 2;
    if (step + 1 < steps * per_group) {
      copy_queries(stage ^ 1, step + 1);
      wait_for_copies<1>();
    } else {
      wait_for_copies<0>();
    }
    __syncthreads();
    const int first = begin + step % steps * kQueries;
    const T* queries = stages + 2 * stage * kQueryTile;
    const T* ups = queries + kQueryTile;
    const float* lse = statistics + 2 * stage * kQueries;
    const float* delta = lse + kQueries;
    float scores[kQueries / 8][4];
    float slopes[kQueries / 8][4];
    row_products<kWidth>(scores, keys, queries);
    mask(scores, visible, first, -INFINITY);
#pragma unroll
    for (int n = 0; n < kQueries / 8; ++n) {
      const float2 shift = *reinterpret_cast<const float2*>(lse + n * 8 + thread_column());
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        scores[n][e] = exp2_approximately((scores[n][e] * scale - (e % 2 == 0 ? shift.x : shift.y)) * kLog2E);
      }
    }
    if constexpr (kDrops) {
      row_products<kWidth>(slopes, values, ups);
      const HeadDropout<float> drop(s, at.b, at.group * per_group + step / steps);
      float weights[kQueries / 8][4];
#pragma unroll
      for (int n = 0; n < kQueries / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const float factor = drop.at(first + n * 8 + thread_column() + e % 2, row + e / 2 * 8);
          weights[n][e] = dropped(factor, scores[n][e]);
          slopes[n][e] = dropped(factor, slopes[n][e]);
        }
      }
      add_weighted_rows<kWidth>(sums_v, weights, ups);
    } else {
      add_weighted_rows<kWidth>(sums_v, scores, ups);
      row_products<kWidth>(slopes, values, ups);
    }
#pragma unroll
    for (int n = 0; n < kQueries / 8; ++n) {
      const float2 mean = *reinterpret_cast<const float2*>(delta + n * 8 + thread_column());
#pragma unroll
      for (int e = 0; e < 4; ++e) slopes[n][e] = scores[n][e] * (slopes[n][e] - (e % 2 == 0 ? mean.x : mean.y));
    }
    mask(slopes, visible, first, 0);
    add_weighted_rows<kWidth>(sums_k, slopes, queries);
    __syncthreads();  // the next copies overwrite this stage
  }
  wait_for_copies<0>();
  const float by_scale[2] = {scale, scale};
  const float by_one[2] = {1, 1};
  if (g.dk.data != nullptr) store_rows<kWidth>(g.dk, g.add_k, at.b, at.first, at.end, at.group, sums_k, by_scale);
  if (g.dv.data != nullptr) store_rows<kWidth>(g.dv, g.add_v, at.b, at.first, at.end, at.group, sums_v, by_one);
}

// Shared memory of the larger kernel of the two; in f32 forward needs less (in bf16 at 128 wide it needs more).
template <class T>
std::size_t most_shared_bytes(const AttentionSizes& s) {
  std::size_t bytes = 0;
  dispatch_width(s.head_dim, [&]<int kWidth>() {
    constexpr int kStages = 4 * kColumns<T, kWidth>;
    bytes = sizeof(T) * (2 * kTileRows + kStages) * kPitch<T, kWidth> + kStages * sizeof(float);
  });
  return bytes;
}

template <class T>
void backward(Device device, const AttentionSizes& s, const AttentionGradient<T>& g) {
  const float scale = 1.0F / std::sqrt(static_cast<float>(s.head_dim));
  if (g.dq.data == nullptr) naive::row_products<T>(device, s, g);
  dispatch_width(s.head_dim, [&]<int kWidth>() {
    constexpr int kRowsInAll = 2 * kTileRows + 4 * kColumns<T, kWidth>;
    constexpr std::size_t kTileBytes = sizeof(T) * kRowsInAll * kPitch<T, kWidth>;
    const auto launch = [&](auto kernel, std::int64_t blocks, std::size_t bytes) {
      launch_attention(kernel, device, blocks, kTileThreads, bytes, s, g, scale);
    };
    const bool drops = s.dropout.active();
    if (g.dq.data != nullptr) {
      const std::int64_t blocks = s.batch * s.heads * tiles_of(s.queries);
      drops ? launch(query_gradient_kernel<T, kWidth, true>, blocks, kTileBytes)
            : launch(query_gradient_kernel<T, kWidth, false>, blocks, kTileBytes);
    }
    if (g.dk.data != nullptr || g.dv.data != nullptr) {
      const std::int64_t blocks = s.batch * s.kv_heads * tiles_of(s.keys);
      constexpr std::size_t kBytes = kTileBytes + 4 * kColumns<T, kWidth> * sizeof(float);
      drops ? launch(key_gradient_kernel<T, kWidth, true>, blocks, kBytes)
            : launch(key_gradient_kernel<T, kWidth, false>, blocks, kBytes);
    }
  });
}

}  // namespace mixgrad::cuda::tensor_core
