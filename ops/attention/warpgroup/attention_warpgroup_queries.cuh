// The fourth implementation, backward: the two kernels of attention_tensor_core_backward.cuh with the copy engine and
// wgmma. dq by tiles of queries (this file), dk and dv by tiles of keys (attention_warpgroup_keys.cuh): 7 products
// instead of 5, but no sum needs atomics or an order among blocks.
//
// A warp group has several products in flight: those of the next tile are queued behind the last ones of this tile, so
// that the tensor cores work while exponentials are computed.
#pragma once

#include "ops/attention/warpgroup/attention_warpgroup.cuh"

namespace mixgrad::cuda::warpgroup {

template <int kWidth_, int kGroups_, int kKeys_, int kStages_, int kBlocks_>
struct QueryGradientShape {
  static constexpr int kWidth = kWidth_, kGroups = kGroups_, kKeys = kKeys_, kStages = kStages_, kBlocks = kBlocks_;
  static constexpr int kRows = kGroups * kGroupRows;
  static constexpr int kThreads = kGroups * kGroupThreads + kCopyThreads<kGroups, kBlocks>;
  static constexpr int kQueryBytes = tile_bytes<kWidth>(kGroupRows);
  static constexpr int kKeyBytes = tile_bytes<kWidth>(kKeys);
  static constexpr int kBytes = 1024 + 2 * kGroups * kQueryBytes + 2 * kStages * kKeyBytes;
};

// dout . out of the thread's two rows, by the 4 threads that share them; 0 for rows that do not exist.
__device__ inline void row_deltas(float (&delta)[2], const AttentionGradient<bf16>& g, int b, int head, int row,
                                  int end) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float sum = 0;
    if (row + 8 * r < end) {
      const bf16* out = g.out.at(b, row + 8 * r, head);
      const bf16* up = g.dout.at(b, row + 8 * r, head);
      for (int column = static_cast<int>(threadIdx.x) % 4 * 8; column < g.out.head_dim; column += 32) {
        const uint4 x = *reinterpret_cast<const uint4*>(up + column);
        const uint4 y = *reinterpret_cast<const uint4*>(out + column);
        using tensor_core::lower;
        using tensor_core::upper;
        sum += lower(x.x) * lower(y.x) + upper(x.x) * upper(y.x) + lower(x.y) * lower(y.y) + upper(x.y) * upper(y.y);
        sum += lower(x.z) * lower(y.z) + upper(x.z) * upper(y.z) + lower(x.w) * lower(y.w) + upper(x.w) * upper(y.w);
      }
    }
    delta[r] = join_quad<Sum>(sum);
  }
}

// dq and delta by tiles of queries. Shared memory: q, dout, and a ring of keys and values.
template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    query_gradient_kernel(AttentionSizes s, AttentionGradient<bf16> g, float scale,
                          const __grid_constant__ CUtensorMap map_q, const __grid_constant__ CUtensorMap map_dout,
                          const __grid_constant__ CUtensorMap map_k, const __grid_constant__ CUtensorMap map_v) {
  constexpr int kWidth = Shape::kWidth, kGroups = Shape::kGroups, kKeys = Shape::kKeys, kStages = Shape::kStages;
  __shared__ std::uint64_t queries_full, queries_free, stage_full[kStages], stage_free[kStages];
  unsigned char* queries = aligned_tiles();
  unsigned char* ups = queries + kGroups * Shape::kQueryBytes;
  unsigned char* keys = ups + kGroups * Shape::kQueryBytes;
  unsigned char* values = keys + kStages * Shape::kKeyBytes;
  const int tiles = query_tiles(s, Shape::kRows);
  if (threadIdx.x == 0) {
    init_barrier(&queries_full, 1);
    init_barrier(&queries_free, 4 * kGroups);
    for (int stage = 0; stage < kStages; ++stage) {
      init_barrier(&stage_full[stage], 1);
      init_barrier(&stage_free[stage], 4 * kGroups);
    }
    publish_barriers();
  }
  __syncthreads();
  int base = 0;                 // steps of the tiles before this one
  if (group_id() == kGroups) {  // copies
    if constexpr (Shape::kBlocks == 1) give_registers<kCopyRegisters>();
    if (threadIdx.x != kGroups * kGroupThreads) return;
    for (int round = 0, tile = 0; (tile = tile_of_round(round, tiles)) >= 0; ++round) {
      const QueryRows at(s, Shape::kRows, tile);
      const Steps steps = key_steps(s, at.first, Shape::kRows, at.first, kKeys);
      for (int step = 0; step < steps.count; ++step) {
        const int n = base + step;
        const int stage = n % kStages;
        const int first = steps.begin + step * kKeys;
        if (n >= kStages) wait(&stage_free[stage], (n / kStages - 1) % 2);
        arrive_expecting(&stage_full[stage], 2 * Shape::kKeyBytes);
        copy_tile<kWidth>(keys + stage * Shape::kKeyBytes, map_k, &stage_full[stage], kKeys, at.group, first, at.b);
        copy_tile<kWidth>(values + stage * Shape::kKeyBytes, map_v, &stage_full[stage], kKeys, at.group, first, at.b);
        if (step > 0) continue;
        if (round > 0) wait(&queries_free, (round - 1) % 2);
        arrive_expecting(&queries_full, 2 * kGroups * Shape::kQueryBytes);
        for (int group = 0; group < kGroups; ++group) {
          const int row = at.first + group * kGroupRows;
          const int byte = group * Shape::kQueryBytes;
          copy_tile<kWidth>(queries + byte, map_q, &queries_full, kGroupRows, at.head, row, at.b);
          copy_tile<kWidth>(ups + byte, map_dout, &queries_full, kGroupRows, at.head, row, at.b);
        }
      }
      base += steps.count;
    }
    return;
  }
  if constexpr (Shape::kBlocks == 1) take_registers<kComputeRegisters<kGroups>>();
  const auto rows_end = static_cast<int>(s.queries);
  const unsigned char* own_queries = queries + group_id() * Shape::kQueryBytes;
  const unsigned char* own_ups = ups + group_id() * Shape::kQueryBytes;
  const bool speaks = threadIdx.x % kWarp == 0;
  float sums[kWidth / 8][4];
  float scores[kKeys / 8][4];
  float slopes[kKeys / 8][4];
  unsigned weights[kKeys / 16][4];
  const auto await = [&](int n) { wait(&stage_full[n % kStages], n / kStages % 2); };
  const auto free_stage = [&](int n) {
    if (speaks) arrive(&stage_free[n % kStages]);
  };
  const auto start_scores = [&](int n) {
    row_products<kWidth>(scores, own_queries, kGroupRows, keys + n % kStages * Shape::kKeyBytes);
    commit_products();
    row_products<kWidth>(slopes, own_ups, kGroupRows, values + n % kStages * Shape::kKeyBytes);
    commit_products();
  };
  const auto start_sums = [&](int n) {
    add_weighted_rows<kWidth, kKeys / 8>(sums, weights, keys + n % kStages * Shape::kKeyBytes);
    commit_products();
  };
  for (int round = 0, tile = 0; (tile = tile_of_round(round, tiles)) >= 0; ++round) {
    const QueryRows at(s, Shape::kRows, tile);
    const int group_first = at.first + group_id() * kGroupRows;
    const Steps steps = key_steps(s, at.first, Shape::kRows, group_first, kKeys);
    const int row = group_first + group_row();
    const VisibleRange visible[2] = {keys_seen_by(s, row), keys_seen_by(s, row + 8)};
    float delta[2];
    row_deltas(delta, g, at.b, at.head, row, rows_end);
    float shift[2] = {};  // lse, in powers of 2
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (row + 8 * r >= rows_end) continue;
      const std::int64_t row_index = (at.b * s.heads + at.head) * s.queries + row + 8 * r;
      shift[r] = g.lse[row_index] * kLog2E;
      if (threadIdx.x % 4 == 0) g.delta[row_index] = delta[r];
    }
#pragma unroll
    for (auto& part : sums) {
#pragma unroll
      for (float& value : part) value = 0;
    }
    const auto finish_scores = [&] {
      pin(scores);
#pragma unroll
      for (auto& part : scores) {
#pragma unroll
        for (int e = 0; e < 4; ++e) part[e] = exp2_approximately(part[e] * (scale * kLog2E) - shift[e / 2]);
      }
    };
    const auto finish_slopes = [&](int step) {
      pin(slopes);
#pragma unroll
      for (int k = 0; k < kKeys / 8; ++k) {
#pragma unroll
        for (int e = 0; e < 4; ++e) slopes[k][e] = scores[k][e] * (slopes[k][e] - delta[e / 2]);
      }
      mask(slopes, visible, steps.begin + step * kKeys, 0);
      pack<kKeys / 8>(weights, slopes);
    };
    int step = 0;
    for (; step < steps.own_begin; ++step) {
      await(base + step);
      free_stage(base + step);
    }
    wait(&queries_full, round % 2);
    if (step < steps.own_end) {
      await(base + step);
      begin_products();
      start_scores(base + step);
      wait_for_products<1>();
      for (; step + 1 < steps.own_end; ++step) {
        finish_scores();
        wait_for_products<0>();
        finish_slopes(step);
        await(base + step + 1);
        begin_products();
        start_sums(base + step);
        start_scores(base + step + 1);
        wait_for_products<1>();
        free_stage(base + step);
      }
      finish_scores();
      wait_for_products<0>();
      finish_slopes(step);
      if (speaks) arrive(&queries_free);
      begin_products();
      start_sums(base + step);
      wait_for_products<0>();
      pin(sums);
      free_stage(base + step);
      ++step;
    } else if (speaks) {
      arrive(&queries_free);
    }
    for (; step < steps.count; ++step) {
      await(base + step);
      free_stage(base + step);
    }
    base += steps.count;
    store_rows<kWidth>(g.dq, g.add_q, at.b, row, rows_end, at.head, sums, scale, scale);
  }
}

}  // namespace mixgrad::cuda::warpgroup
