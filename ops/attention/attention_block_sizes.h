// Read by the kernels of attention and shortcut_attention.
#pragma once

#include "ops/support/block_size.h"

namespace mixgrad {

// Queries that the CPU works on together. Smaller blocks compute less of the masked triangle, larger ones make better
// products.
inline constexpr std::int64_t kAttentionFewKeys = 128;
inline constexpr std::int64_t kAttentionSmallBlock = 32;  // with at most so many keys
inline constexpr std::int64_t kAttentionLargeBlock = 64;

inline constexpr int kAttentionTileRows = 64;               // of queries or keys, of a tile on CUDA
inline constexpr std::int64_t kAttentionTiledQueries = 16;  // CUDA works in tiles from here on
inline constexpr std::int64_t kAttentionTiledWidth = 128;   // of a head; CUDA has no tiles for wider ones
inline constexpr std::int64_t kAttentionNarrowHead = 32;    // CUDA's warp groups take wider ones
// Keys up to which CUDA's warp groups work in small tiles, and beyond which three of them work together.
inline constexpr std::int64_t kAttentionShortKeys = 512;
inline constexpr std::int64_t kAttentionLongKeys = 2048;

// A decoding step takes clusters of CUDA blocks for caches of more rows, and for as many heads of all sequences.
inline constexpr std::int64_t kAttentionShortCache = 2048;
inline constexpr std::int64_t kAttentionManyHeads = 64;
// For caches of more rows than this, and few heads, the CUDA blocks of a cluster have more warps.
inline constexpr std::int64_t kAttentionLongCache = 16384;

inline constexpr BlockSize kAttentionBlocks[] = {
    {"tokens", kAttentionSmallBlock},       {"tokens", kAttentionLargeBlock},   {"tokens", kAttentionFewKeys},
    {"tokens", kAttentionTileRows},         {"tokens", kAttentionTiledQueries}, {"head channels", kAttentionTiledWidth},
    {"head channels", kAttentionNarrowHead}};

}  // namespace mixgrad
