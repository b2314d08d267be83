// The fourth implementation, for compute capability 9.0: bf16 tiles copied by the copy engine and multiplied by warp
// groups (wgmma). This file: what forward and backward share, and forward. The algorithm is that of the third
// implementation (attention_tensor_core.cuh), whose fragments, masks and softmax it uses: a row of a wgmma result lies
// in the same 4 threads as a row of mma.m16n8k16.
//
// A block has kGroups warp groups that compute, each with 64 rows of its own against tiles of kColumns columns, and one
// warp more that copies tiles ahead through a ring of kStages. Each row has one order of sums; no atomics.
#pragma once

#include "ops/attention/attention_tensor_core.cuh"
#include "ops/attention/warpgroup/warpgroup_instructions.cuh"

namespace mixgrad::cuda::warpgroup {

using tensor_core::exp2_approximately;
using tensor_core::join_quad;
using tensor_core::kLog2E;
using tensor_core::packed;

constexpr int kGroupRows = 64;
static_assert(kGroupRows == kAttentionTileRows);

// With one block on a multiprocessor the copying warp is a warp group of its own, whose registers those that compute
// take: 512 of a multiprocessor for each thread of a warp group, in multiples of 8.
template <int kGroups, int kBlocks>
constexpr int kCopyThreads = kBlocks == 1 ? kGroupThreads : kWarp;
template <int kGroups>
constexpr int kComputeRegisters = kGroups == 2 ? 240 : 160;
constexpr int kCopyRegisters = 24;

// Bytes of `rows` rows of a tile kWidth wide.
template <int kWidth>
__host__ __device__ constexpr int tile_bytes(int rows) {
  return kWidth / kPanelColumns * rows * kPanelRowBytes;
}

// Of a thread among those of its warp group.
__device__ inline int group_id() { return static_cast<int>(threadIdx.x) / kGroupThreads; }
__device__ inline int group_row() {
  return static_cast<int>(threadIdx.x) % kGroupThreads / kWarp * 16 + static_cast<int>(threadIdx.x) % kWarp / 4;
}

// The block's shared memory, from a multiple of 1,024 bytes on.
__device__ inline unsigned char* aligned_tiles() {
  auto* memory = shared<unsigned char>();
  return memory + (1024 - shared_address(memory) % 1024) % 1024;
}

// Rows [row, row + rows) of a head: kWidth / 64 panels, one after the other.
template <int kWidth>
__device__ void copy_tile(unsigned char* to, const CUtensorMap& map, std::uint64_t* barrier, int rows, int head,
                          int row, int batch) {
#pragma unroll
  for (int panel = 0; panel < kWidth / kPanelColumns; ++panel) {
    copy_panel(to + panel * rows * kPanelRowBytes, map, barrier, panel * kPanelColumns, head, row, batch);
  }
}

// c = the 64 rows of a (a tile of a_rows rows, of which those from a_first on) . the rows of b, over kWidth columns.
// In flight when it returns.
template <int kWidth, int kTiles>
__device__ void row_products(float (&c)[kTiles][4], const unsigned char* a, int a_rows, const unsigned char* b) {
#pragma unroll
  for (int k = 0; k < kWidth; k += 16) {
    const int panel = k / kPanelColumns;
    const int byte = k % kPanelColumns * 2;
    const std::uint64_t left = descriptor(a + panel * a_rows * kPanelRowBytes + byte, 0);
    const std::uint64_t right = descriptor(b + panel * kTiles * 8 * kPanelRowBytes + byte, 0);
    if (k == 0) {
      multiply(c, left, right);
    } else {
      multiply_add(c, left, right);
    }
  }
}

// to += weights (64 x 8 kTiles, bf16 pairs in registers) times the rows of b. In flight when it returns.
template <int kWidth, int kTiles>
__device__ void add_weighted_rows(float (&to)[kWidth / 8][4], const unsigned (&weights)[kTiles / 2][4],
                                  const unsigned char* b) {
#pragma unroll
  for (int k = 0; k < kTiles / 2; ++k) {
    multiply_rows(to, weights[k], descriptor(b + k * 16 * kPanelRowBytes, kTiles * 8 * kPanelRowBytes));
  }
}

template <int kTiles>
__device__ void pack(unsigned (&to)[kTiles / 2][4], const float (&from)[kTiles][4]) {
#pragma unroll
  for (int k = 0; k < kTiles / 2; ++k) {
    to[k][0] = packed(from[2 * k][0], from[2 * k][1]);
    to[k][1] = packed(from[2 * k][2], from[2 * k][3]);
    to[k][2] = packed(from[2 * k + 1][0], from[2 * k + 1][1]);
    to[k][3] = packed(from[2 * k + 1][2], from[2 * k + 1][3]);
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
      if (!visible[e / 2].has(first + n * 8 + tensor_core::thread_column() + e % 2)) scores[n][e] = hidden;
    }
  }
}

// The thread's two rows of an output, times factor[r]; `row` is the first of them.
template <int kWidth>
__device__ void store_rows(const HeadRows<bf16>& to, bool add, int b, int row, int end, int head,
                           const float (&sums)[kWidth / 8][4], float factor0, float factor1) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (row + 8 * r >= end) continue;
    const float factor = r == 0 ? factor0 : factor1;
    bf16* target = to.at(b, row + 8 * r, head) + tensor_core::thread_column();
#pragma unroll
    for (int n = 0; n < kWidth / 8; ++n) {
      if (n * 8 >= to.head_dim) continue;
      auto* pair = reinterpret_cast<unsigned*>(target + n * 8);
      const float left = sums[n][2 * r] * factor;
      const float right = sums[n][2 * r + 1] * factor;
      *pair = add ? packed(tensor_core::lower(*pair) + left, tensor_core::upper(*pair) + right) : packed(left, right);
    }
  }
}

// A block works through several tiles, so that the next one's copies run while this one ends. It goes through the list
// of all tiles in rounds of the grid's size, every other round from the other end: so long and short ones mix. -1 when
// there is no more.
__device__ inline int tile_of_round(int round, int tiles) {
  const auto blocks = static_cast<int>(gridDim.x);
  const auto block = static_cast<int>(blockIdx.x);
  const int tile = round * blocks + (round % 2 == 0 ? block : blocks - 1 - block);
  return tile < tiles ? tile : -1;
}

// Tile `index` of `rows` rows of queries: head by head, so that its keys stay in the cache; those with the most keys
// first.
struct QueryRows {
  int b, head, group, first;

  __device__ QueryRows(const AttentionSizes& s, int rows, int index) {
    const auto tiles = (static_cast<int>(s.queries) + rows - 1) / rows;
    first = (tiles - 1 - index % tiles) * rows;
    const int item = index / tiles;
    head = item % static_cast<int>(s.heads);
    b = item / static_cast<int>(s.heads);
    group = head / static_cast<int>(s.heads / s.kv_heads);
  }
};
__host__ __device__ inline int query_tiles(const AttentionSizes& s, int rows) {
  return static_cast<int>(s.batch * s.heads) * ((static_cast<int>(s.queries) + rows - 1) / rows);
}
__host__ __device__ inline int key_tiles(const AttentionSizes& s, int rows) {
  return static_cast<int>(s.batch * s.kv_heads) * ((static_cast<int>(s.keys) + rows - 1) / rows);
}

// The steps of tiles of kColumns keys that a tile of queries goes through, and those that one warp group needs.
struct Steps {
  int begin, count;        // the first key, and tiles of keys
  int own_begin, own_end;  // steps of this group
};
__device__ inline Steps key_steps(const AttentionSizes& s, int first, int rows, int group_first, int columns) {
  const auto queries = static_cast<int>(s.queries);
  const int end = keys_seen_by(s, min(first + rows, queries) - 1).end;
  Steps steps{};
  steps.begin = keys_seen_by(s, first).begin / columns * columns;
  steps.count = (end - steps.begin + columns - 1) / columns;
  if (group_first < queries) {
    const int own_end = keys_seen_by(s, min(group_first + kGroupRows, queries) - 1).end;
    steps.own_begin = (keys_seen_by(s, group_first).begin - steps.begin) / columns;
    steps.own_end = (own_end - steps.begin + columns - 1) / columns;
  }
  return steps;
}

// ---- forward

template <int kWidth_, int kGroups_, int kKeys_, int kStages_, int kBlocks_>
struct ForwardShape {
  static constexpr int kWidth = kWidth_, kGroups = kGroups_, kKeys = kKeys_, kStages = kStages_;
  static constexpr int kBlocks = kBlocks_;  // on a multiprocessor
  static constexpr int kRows = kGroups * kGroupRows;
  static constexpr int kThreads = kGroups * kGroupThreads + kCopyThreads<kGroups, kBlocks>;
  static constexpr int kQueryBytes = tile_bytes<kWidth>(kGroupRows);
  static constexpr int kKeyBytes = tile_bytes<kWidth>(kKeys);
  static constexpr int kBytes = 1024 + kGroups * kQueryBytes + 2 * kStages * kKeyBytes;
};

// out and lse by tiles of queries. Shared memory: the queries, and a ring of keys and values.
template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    forward_kernel(AttentionSizes s, AttentionRows<bf16> rows, float scale, const __grid_constant__ CUtensorMap map_q,
                   const __grid_constant__ CUtensorMap map_k, const __grid_constant__ CUtensorMap map_v) {
  constexpr int kWidth = Shape::kWidth, kGroups = Shape::kGroups, kKeys = Shape::kKeys, kStages = Shape::kStages;
  __shared__ std::uint64_t queries_full, queries_free, keys_full[kStages], values_full[kStages], stage_free[kStages];
  unsigned char* queries = aligned_tiles();
  unsigned char* keys = queries + kGroups * Shape::kQueryBytes;
  unsigned char* values = keys + kStages * Shape::kKeyBytes;
  const int tiles = query_tiles(s, Shape::kRows);
  if (threadIdx.x == 0) {
    init_barrier(&queries_full, 1);
    init_barrier(&queries_free, 4 * kGroups);
    for (int stage = 0; stage < kStages; ++stage) {
      init_barrier(&keys_full[stage], 1);
      init_barrier(&values_full[stage], 1);
      init_barrier(&stage_free[stage], 4 * kGroups);
    }
    publish_barriers();
  }
  __syncthreads();
  int n = 0;                    // steps so far, over all tiles
  if (group_id() == kGroups) {  // copies
    if constexpr (Shape::kBlocks == 1) give_registers<kCopyRegisters>();
    if (threadIdx.x != kGroups * kGroupThreads) return;
    for (int round = 0, tile = 0; (tile = tile_of_round(round, tiles)) >= 0; ++round) {
      const QueryRows at(s, Shape::kRows, tile);
      const Steps steps = key_steps(s, at.first, Shape::kRows, at.first, kKeys);
      for (int step = 0; step < steps.count; ++step, ++n) {
        const int stage = n % kStages;
        const int first = steps.begin + step * kKeys;
        if (n >= kStages) wait(&stage_free[stage], (n / kStages - 1) % 2);
        arrive_expecting(&keys_full[stage], Shape::kKeyBytes);
        copy_tile<kWidth>(keys + stage * Shape::kKeyBytes, map_k, &keys_full[stage], kKeys, at.group, first, at.b);
        if (step == 0) {
          if (round > 0) wait(&queries_free, (round - 1) % 2);
          arrive_expecting(&queries_full, kGroups * Shape::kQueryBytes);
          for (int group = 0; group < kGroups; ++group) {
            copy_tile<kWidth>(queries + group * Shape::kQueryBytes, map_q, &queries_full, kGroupRows, at.head,
                              at.first + group * kGroupRows, at.b);
          }
        }
        arrive_expecting(&values_full[stage], Shape::kKeyBytes);
        copy_tile<kWidth>(values + stage * Shape::kKeyBytes, map_v, &values_full[stage], kKeys, at.group, first, at.b);
      }
    }
    return;
  }
  if constexpr (Shape::kBlocks == 1) take_registers<kComputeRegisters<kGroups>>();
  const unsigned char* own = queries + group_id() * Shape::kQueryBytes;
  const bool speaks = threadIdx.x % kWarp == 0;
  const auto skip = [&] {
    wait(&keys_full[n % kStages], n / kStages % 2);
    wait(&values_full[n % kStages], n / kStages % 2);
    if (speaks) arrive(&stage_free[n % kStages]);
  };
  for (int round = 0, tile = 0; (tile = tile_of_round(round, tiles)) >= 0; ++round) {
    const QueryRows at(s, Shape::kRows, tile);
    const int group_first = at.first + group_id() * kGroupRows;
    const Steps steps = key_steps(s, at.first, Shape::kRows, group_first, kKeys);
    const int row = group_first + group_row();
    const VisibleRange visible[2] = {keys_seen_by(s, row), keys_seen_by(s, row + 8)};
    float sums[kWidth / 8][4] = {};
    float top[2] = {-INFINITY, -INFINITY};
    float total[2] = {};
    int step = 0;
    for (; step < steps.own_begin; ++step, ++n) skip();
    wait(&queries_full, round % 2);
    for (; step < steps.own_end; ++step, ++n) {
      const int stage = n % kStages;
      const int parity = n / kStages % 2;
      float scores[kKeys / 8][4];
      wait(&keys_full[stage], parity);
      begin_products();
      row_products<kWidth>(scores, own, kGroupRows, keys + stage * Shape::kKeyBytes);
      commit_products();
      wait_for_products<0>();
      pin(scores);
      mask(scores, visible, steps.begin + step * kKeys, -INFINITY);
      tensor_core::softmax_step(scores, scale, top, total, sums);
      unsigned weights[kKeys / 16][4];
      pack<kKeys / 8>(weights, scores);
      wait(&values_full[stage], parity);
      pin(sums);
      begin_products();
      add_weighted_rows<kWidth, kKeys / 8>(sums, weights, values + stage * Shape::kKeyBytes);
      commit_products();
      wait_for_products<0>();
      pin(sums);
      if (speaks) arrive(&stage_free[stage]);
    }
    if (speaks) arrive(&queries_free);
    for (; step < steps.count; ++step, ++n) skip();
    float factor[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      total[r] = join_quad<Sum>(total[r]);
      factor[r] = 1.0F / total[r];
      if (rows.lse != nullptr && threadIdx.x % 4 == 0 && row + 8 * r < s.queries) {
        rows.lse[(at.b * s.heads + at.head) * s.queries + row + 8 * r] = top[r] * scale + std::log(total[r]);
      }
    }
    store_rows<kWidth>(rows.out, false, at.b, row, static_cast<int>(s.queries), at.head, sums, factor[0], factor[1]);
  }
}

}  // namespace mixgrad::cuda::warpgroup
