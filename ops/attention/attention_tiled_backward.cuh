// The second implementation, backward: dq by tiles of queries, dk and dv by tiles of keys over all heads of the group.
// Both compute the probabilities again.
#pragma once

#include "ops/attention/attention_tiled.cuh"

namespace mixgrad::cuda::tiled {

// dq of a tile of queries.
template <int kWidth, bool kDrops, class T>
__global__ void __launch_bounds__(kThreads<kWidth>, kWidth <= 64 ? 2 : 1)
    query_gradient_kernel(AttentionSizes s, AttentionGradient<T> g, float scale) {
  const QueryTile at(s);
  float* queries = shared<float>();
  float* ups = queries + kTileElements<kWidth>;
  float* keys = ups + kTileElements<kWidth>;
  float* values = keys + kTileElements<kWidth>;
  float* weights = values + kTileElements<kWidth>;
  const int begin = keys_seen_by(s, at.first).begin / kTileRows * kTileRows;
  const int end = keys_seen_by(s, at.end - 1).end;
  load_tile<kWidth>(queries, g.q, at.b, at.first, at.end, at.head);
  load_tile<kWidth>(ups, g.dout, at.b, at.first, at.end, at.head);
  load_tile<kWidth>(keys, g.k, at.b, begin, end, at.group);
  load_tile<kWidth>(values, g.v, at.b, begin, end, at.group);
  VisibleRange visible[kRows<kWidth>];
  float lse[kRows<kWidth>];
  float delta[kRows<kWidth>];
  float sums[kRows<kWidth>][Columns<kWidth>::kAll] = {};
#pragma unroll
  for (int r = 0; r < kRows<kWidth>; ++r) {
    const int row = at.first + thread_row<kWidth>() + r;
    const std::int64_t row_index = (at.b * s.heads + at.head) * s.queries + row;
    visible[r] = keys_seen_by(s, row);
    lse[r] = row < at.end ? g.lse[row_index] : 0.0F;
    delta[r] = row < at.end ? g.delta[row_index] : 0.0F;
  }
  for (int first = begin; first < end; first += kTileRows) {
    commit_copies();
    wait_for_copies<0>();
    __syncthreads();  // keys and values are there
    float scores[kRows<kWidth>][kScores];
    float slopes[kRows<kWidth>][kScores];
    row_products<kWidth>(scores, queries, keys);
    row_products<kWidth>(slopes, ups, values);
    if constexpr (kDrops) drop_scores<kWidth>(slopes, HeadDropout<float>(s, at.b, at.head), at.first, first);
#pragma unroll
    for (int r = 0; r < kRows<kWidth>; ++r) {
#pragma unroll
      for (int n = 0; n < kScores; ++n) {
        const float p = std::exp(scores[r][n] * scale - lse[r]);
        const bool sees = visible[r].has(first + thread_lane() + n * kLanes);
        slopes[r][n] = sees ? p * (slopes[r][n] - delta[r]) : 0.0F;
      }
    }
    store_scores<kWidth>(weights, slopes);
    __syncthreads();  // the weights are there, the values are used
    if (first + kTileRows < end) load_tile<kWidth>(values, g.v, at.b, first + kTileRows, end, at.group);
    add_weighted_rows<kWidth>(sums, weights, keys);
    __syncthreads();  // weights and keys are used
    if (first + kTileRows < end) load_tile<kWidth>(keys, g.k, at.b, first + kTileRows, end, at.group);
  }
  store_rows<kWidth>(g.dq, g.add_q, at.b, at.first, at.end, at.head, sums, scale);
}

// dk and dv of a tile of keys.
template <int kWidth, bool kDrops, class T>
__global__ void __launch_bounds__(kThreads<kWidth>, kWidth <= 64 ? 2 : 1)
    key_gradient_kernel(AttentionSizes s, AttentionGradient<T> g, float scale) {
  const KeyTile at(s);
  float* keys = shared<float>();
  float* values = keys + kTileElements<kWidth>;
  float* queries = values + kTileElements<kWidth>;
  float* ups = queries + kTileElements<kWidth>;
  float* weights = ups + kTileElements<kWidth>;
  load_tile<kWidth>(keys, g.k, at.b, at.first, at.end, at.group);
  load_tile<kWidth>(values, g.v, at.b, at.first, at.end, at.group);
  VisibleRange visible[kRows<kWidth>];
#pragma unroll
  for (int r = 0; r < kRows<kWidth>; ++r) visible[r] = queries_that_see(s, at.first + thread_row<kWidth>() + r);
  float sums_k[kRows<kWidth>][Columns<kWidth>::kAll] = {};
  float sums_v[kRows<kWidth>][Columns<kWidth>::kAll] = {};
  const int begin = queries_that_see(s, at.first).begin / kTileRows * kTileRows;
  const int end = queries_that_see(s, at.end - 1).end;
  const auto per_group = static_cast<int>(s.heads / s.kv_heads);
  for (int head = at.group * per_group; head < (at.group + 1) * per_group; ++head) {
    [[maybe_unused]] const HeadDropout<float> drop(s, at.b, head);
    for (int first = begin; first < end; first += kTileRows) {
      load_tile<kWidth>(queries, g.q, at.b, first, end, head);
      load_tile<kWidth>(ups, g.dout, at.b, first, end, head);
      commit_copies();
      wait_for_copies<0>();
      __syncthreads();  // queries and ups are there
      float scores[kRows<kWidth>][kScores];
      float slopes[kRows<kWidth>][kScores];
      row_products<kWidth>(scores, keys, queries);
      row_products<kWidth>(slopes, values, ups);
#pragma unroll
      for (int n = 0; n < kScores; ++n) {
        const int i = first + thread_lane() + n * kLanes;
        const std::int64_t row_index = (at.b * s.heads + head) * s.queries + i;
        const float lse = i < end ? g.lse[row_index] : 0.0F;
        const float delta = i < end ? g.delta[row_index] : 0.0F;
#pragma unroll
        for (int r = 0; r < kRows<kWidth>; ++r) {
          const bool sees = visible[r].has(i);
          scores[r][n] = sees ? std::exp(scores[r][n] * scale - lse) : 0.0F;
          if constexpr (kDrops) {
            const float factor = drop.at(i, at.first + thread_row<kWidth>() + r);
            slopes[r][n] = sees ? scores[r][n] * (dropped(factor, slopes[r][n]) - delta) : 0.0F;
            scores[r][n] = dropped(factor, scores[r][n]);
          } else {
            slopes[r][n] = sees ? scores[r][n] * (slopes[r][n] - delta) : 0.0F;
          }
        }
      }
      store_scores<kWidth>(weights, scores);
      __syncthreads();
      add_weighted_rows<kWidth>(sums_v, weights, ups);
      __syncthreads();
      store_scores<kWidth>(weights, slopes);
      __syncthreads();
      add_weighted_rows<kWidth>(sums_k, weights, queries);
      __syncthreads();  // queries, ups and weights are used
    }
  }
  if (g.dk.data != nullptr) store_rows<kWidth>(g.dk, g.add_k, at.b, at.first, at.end, at.group, sums_k, scale);
  if (g.dv.data != nullptr) store_rows<kWidth>(g.dv, g.add_v, at.b, at.first, at.end, at.group, sums_v, 1);
}

template <class T>
void backward(Device device, const AttentionSizes& s, const AttentionGradient<T>& g) {
  naive::row_products<T>(device, s, g);
  const float scale = 1.0F / std::sqrt(static_cast<float>(s.head_dim));
  dispatch_width(s.head_dim, [&]<int kWidth>() {
    const auto launch = [&](auto kernel, std::int64_t blocks) {
      launch_attention(kernel, device, blocks, kThreads<kWidth>, shared_bytes(kWidth, 4), s, g, scale);
    };
    const bool drops = s.dropout.active();
    if (g.dq.data != nullptr) {
      const std::int64_t blocks = s.batch * s.heads * tiles_of(s.queries);
      drops ? launch(query_gradient_kernel<kWidth, true, T>, blocks)
            : launch(query_gradient_kernel<kWidth, false, T>, blocks);
    }
    if (g.dk.data != nullptr || g.dv.data != nullptr) {
      const std::int64_t blocks = s.batch * s.kv_heads * tiles_of(s.keys);
      drops ? launch(key_gradient_kernel<kWidth, true, T>, blocks)
            : launch(key_gradient_kernel<kWidth, false, T>, blocks);
    }
  });
}

}  // namespace mixgrad::cuda::tiled
