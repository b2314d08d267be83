// The fourth implementation, backward: dk and dv by tiles of keys over all heads of the group. The transposed scores of
// a tile stand in registers, rows of keys and columns of queries.
#pragma once

#include "ops/attention/warpgroup/attention_warpgroup.cuh"

namespace mixgrad::cuda::warpgroup {

template <int kWidth_, int kGroups_, int kQueries_, int kStages_, int kBlocks_>
struct KeyGradientShape {
  static constexpr int kWidth = kWidth_, kGroups = kGroups_, kQueries = kQueries_, kStages = kStages_;
  static constexpr int kBlocks = kBlocks_;
  static constexpr int kRows = kGroups * kGroupRows;
  static constexpr int kThreads = kGroups * kGroupThreads + kCopyThreads<kGroups, kBlocks>;
  static constexpr int kKeyBytes = tile_bytes<kWidth>(kGroupRows);
  static constexpr int kQueryBytes = tile_bytes<kWidth>(kQueries);
  static constexpr int kBytes = 1024 + 2 * kGroups * kKeyBytes + 2 * kStages * kQueryBytes + 2 * kStages * kQueries * 4;
};

// Tile `index` of `rows` rows of keys, and the steps of tiles of `columns` queries that it goes through for each head.
struct KeyRows {
  int b, group, first;

  __device__ KeyRows(const AttentionSizes& s, int rows, int index) {
    const auto tiles = (static_cast<int>(s.keys) + rows - 1) / rows;
    first = index % tiles * rows;
    group = index / tiles % static_cast<int>(s.kv_heads);
    b = index / tiles / static_cast<int>(s.kv_heads);
  }
};
__device__ inline Steps query_steps(const AttentionSizes& s, int first, int rows, int group_first, int columns) {
  const auto keys = static_cast<int>(s.keys);
  const int end = queries_that_see(s, min(first + rows, keys) - 1).end;
  Steps steps{};
  steps.begin = queries_that_see(s, first).begin / columns * columns;
  steps.count = max(0, (end - steps.begin + columns - 1) / columns);
  if (group_first < keys) {
    const int own_end = queries_that_see(s, min(group_first + kGroupRows, keys) - 1).end;
    steps.own_begin = min(steps.count, (queries_that_see(s, group_first).begin - steps.begin) / columns);
    steps.own_end = max(steps.own_begin, min(steps.count, (own_end - steps.begin + columns - 1) / columns));
  }
  return steps;
}

// dk and dv by tiles of keys. Shared memory: k, v, and a ring of queries, dout, lse and delta.
template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    key_gradient_kernel(AttentionSizes s, AttentionGradient<bf16> g, float scale,
                        const __grid_constant__ CUtensorMap map_q, const __grid_constant__ CUtensorMap map_dout,
                        const __grid_constant__ CUtensorMap map_k, const __grid_constant__ CUtensorMap map_v) {
  constexpr int kWidth = Shape::kWidth, kGroups = Shape::kGroups, kQueries = Shape::kQueries;
  constexpr int kStages = Shape::kStages;
  __shared__ std::uint64_t keys_full, keys_free, stage_full[kStages], stage_free[kStages];
  unsigned char* keys = aligned_tiles();
  unsigned char* values = keys + kGroups * Shape::kKeyBytes;
  unsigned char* queries = values + kGroups * Shape::kKeyBytes;
  unsigned char* ups = queries + kStages * Shape::kQueryBytes;
  auto* statistics = reinterpret_cast<float*>(ups + kStages * Shape::kQueryBytes);  // of each stage lse, then delta
  const int tiles = key_tiles(s, Shape::kRows);
  const auto per_group = static_cast<int>(s.heads / s.kv_heads);
  if (threadIdx.x == 0) {
    init_barrier(&keys_full, 1);
    init_barrier(&keys_free, 4 * kGroups);
    for (int stage = 0; stage < kStages; ++stage) {
      init_barrier(&stage_full[stage], 1 + kWarp);
      init_barrier(&stage_free[stage], 4 * kGroups);
    }
    publish_barriers();
  }
  __syncthreads();
  int base = 0;                 // steps of the heads before this one
  if (group_id() == kGroups) {  // copies
    if constexpr (Shape::kBlocks == 1) give_registers<kCopyRegisters>();
    if (threadIdx.x >= kGroups * kGroupThreads + kWarp) return;
    const auto lane = static_cast<int>(threadIdx.x) % kWarp;
    int used = 0;  // tiles of keys that were copied
    for (int round = 0, tile = 0; (tile = tile_of_round(round, tiles)) >= 0; ++round) {
      const KeyRows at(s, Shape::kRows, tile);
      const Steps steps = query_steps(s, at.first, Shape::kRows, at.first, kQueries);
      for (int step = 0; step < steps.count * per_group; ++step) {
        const int n = base + step;
        const int stage = n % kStages;
        const int head = at.group * per_group + step / steps.count;
        const int first = steps.begin + step % steps.count * kQueries;
        if (n >= kStages) wait(&stage_free[stage], (n / kStages - 1) % 2);
        if (lane == 0) {
          const int byte = stage * Shape::kQueryBytes;
          arrive_expecting(&stage_full[stage], 2 * Shape::kQueryBytes);
          copy_tile<kWidth>(queries + byte, map_q, &stage_full[stage], kQueries, head, first, at.b);
          copy_tile<kWidth>(ups + byte, map_dout, &stage_full[stage], kQueries, head, first, at.b);
        }
        float* to = statistics + 2 * stage * kQueries;
        for (int i = lane; i < kQueries; i += kWarp) {
          const bool there = first + i < s.queries;
          const std::int64_t from = (at.b * s.heads + head) * s.queries + (there ? first + i : 0);
          copy_float(to + i, g.lse + from, there);
          copy_float(to + kQueries + i, g.delta + from, there);
        }
        arrive_after_copies(&stage_full[stage]);
        if (step > 0) continue;
        if (used > 0) wait(&keys_free, (used - 1) % 2);
        ++used;
        if (lane > 0) continue;
        arrive_expecting(&keys_full, 2 * kGroups * Shape::kKeyBytes);
        for (int part = 0; part < kGroups; ++part) {
          const int row = at.first + part * kGroupRows;
          const int byte = part * Shape::kKeyBytes;
          copy_tile<kWidth>(keys + byte, map_k, &keys_full, kGroupRows, at.group, row, at.b);
          copy_tile<kWidth>(values + byte, map_v, &keys_full, kGroupRows, at.group, row, at.b);
        }
      }
      base += steps.count * per_group;
    }
    return;
  }
  if constexpr (Shape::kBlocks == 1) take_registers<kComputeRegisters<kGroups>>();
  const auto keys_end = static_cast<int>(s.keys);
  const unsigned char* own_keys = keys + group_id() * Shape::kKeyBytes;
  const unsigned char* own_values = values + group_id() * Shape::kKeyBytes;
  const bool speaks = threadIdx.x % kWarp == 0;
  float sums_k[kWidth / 8][4];
  float sums_v[kWidth / 8][4];
  float scores[kQueries / 8][4];
  float slopes[kQueries / 8][4];
  unsigned weights[kQueries / 16][4];
  unsigned weighted_slopes[kQueries / 16][4];
  const auto await = [&](int n) { wait(&stage_full[n % kStages], n / kStages % 2); };
  const auto free_stage = [&](int n) {
    if (speaks) arrive(&stage_free[n % kStages]);
  };
  const auto start_scores = [&](int n) {
    row_products<kWidth>(scores, own_keys, kGroupRows, queries + n % kStages * Shape::kQueryBytes);
    commit_products();
    row_products<kWidth>(slopes, own_values, kGroupRows, ups + n % kStages * Shape::kQueryBytes);
    commit_products();
  };
  const auto start_sums = [&](int n) {
    add_weighted_rows<kWidth, kQueries / 8>(sums_v, weights, ups + n % kStages * Shape::kQueryBytes);
    add_weighted_rows<kWidth, kQueries / 8>(sums_k, weighted_slopes, queries + n % kStages * Shape::kQueryBytes);
    commit_products();
  };
  int used = 0;  // tiles of keys that were copied
  for (int round = 0, tile = 0; (tile = tile_of_round(round, tiles)) >= 0; ++round) {
    const KeyRows at(s, Shape::kRows, tile);
    const int group_first = at.first + group_id() * kGroupRows;
    const Steps steps = query_steps(s, at.first, Shape::kRows, group_first, kQueries);
    const int row = group_first + group_row();
    const VisibleRange visible[2] = {queries_that_see(s, row), queries_that_see(s, row + 8)};
#pragma unroll
    for (int k = 0; k < kWidth / 8; ++k) {
#pragma unroll
      for (int e = 0; e < 4; ++e) sums_k[k][e] = sums_v[k][e] = 0;
    }
    const auto finish_scores = [&](int n, int step) {
      pin(scores);
      mask(scores, visible, steps.begin + step * kQueries, -INFINITY);
      const float* lse = statistics + 2 * (n % kStages) * kQueries + tensor_core::thread_column();
#pragma unroll
      for (int k = 0; k < kQueries / 8; ++k) {
        const float2 shift = *reinterpret_cast<const float2*>(lse + k * 8);
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const float power = (e % 2 == 0 ? shift.x : shift.y) * kLog2E;
          scores[k][e] = exp2_approximately(scores[k][e] * (scale * kLog2E) - power);
        }
      }
    };
    const auto finish_slopes = [&](int n, int step) {
      pin(slopes);
      pack<kQueries / 8>(weights, scores);
      const float* delta = statistics + (2 * (n % kStages) + 1) * kQueries + tensor_core::thread_column();
#pragma unroll
      for (int k = 0; k < kQueries / 8; ++k) {
        const float2 mean = *reinterpret_cast<const float2*>(delta + k * 8);
#pragma unroll
        for (int e = 0; e < 4; ++e) slopes[k][e] = scores[k][e] * (slopes[k][e] - (e % 2 == 0 ? mean.x : mean.y));
      }
      mask(slopes, visible, steps.begin + step * kQueries, 0);
      pack<kQueries / 8>(weighted_slopes, slopes);
    };
    if (steps.count > 0) wait(&keys_full, used % 2);
    for (int head = 0; head < per_group && steps.count > 0; ++head, base += steps.count) {
      int step = 0;
      for (; step < steps.own_begin; ++step) {
        await(base + step);
        free_stage(base + step);
      }
      if (step < steps.own_end) {
        await(base + step);
        begin_products();
        start_scores(base + step);
        wait_for_products<1>();
        for (; step + 1 < steps.own_end; ++step) {
          finish_scores(base + step, step);
          wait_for_products<0>();
          finish_slopes(base + step, step);
          await(base + step + 1);
          begin_products();
          start_sums(base + step);
          start_scores(base + step + 1);
          wait_for_products<1>();
          free_stage(base + step);
        }
        finish_scores(base + step, step);
        wait_for_products<0>();
        finish_slopes(base + step, step);
        begin_products();
        start_sums(base + step);
        wait_for_products<0>();
        pin(sums_k);
        pin(sums_v);
        free_stage(base + step);
        ++step;
      }
      for (; step < steps.count; ++step) {
        await(base + step);
        free_stage(base + step);
      }
    }
    if (steps.count > 0) {
      ++used;
      if (speaks) arrive(&keys_free);
    }
    if (g.dk.data != nullptr) store_rows<kWidth>(g.dk, g.add_k, at.b, row, keys_end, at.group, sums_k, scale, scale);
    if (g.dv.data != nullptr) store_rows<kWidth>(g.dv, g.add_v, at.b, row, keys_end, at.group, sums_v, 1, 1);
  }
}

}  // namespace mixgrad::cuda::warpgroup
