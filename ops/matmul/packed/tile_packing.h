// Private to ops/matmul: operands as a tile unit (tiles.h) loads them, float rounded to bf16 on the way.
//
// A tile is 16 rows of A, or 16 columns of B, by 32 along k:
//
//   rows    [16 rows or columns][32 along k]      as A needs it
//   pairs   [16 pairs along k][16 columns][2]     as B needs it
//
// What is stored along k becomes rows, what is stored across it pairs; the one is the other with its 16 x 16 pairs
// transposed. Rows, columns and k past the end are 0: they add exact zeros, or are never stored.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "core/dtype.h"
#include "ops/matmul/packed/packing.h"
#include "ops/matmul/packed/tiles.h"

namespace mixgrad::cpu {

// As many elements as a vector of floats holds.
inline constexpr int kRow = kLanes<float>;
typedef std::uint32_t RowU __attribute__((vector_size(kVectorBytes)));          // NOLINT(modernize-use-using)
typedef std::uint16_t HalfRowU __attribute__((vector_size(kVectorBytes / 2)));  // NOLINT(modernize-use-using)

// kRow elements as the bits of bf16. To nearest, ties to even; NaN stays NaN; a denormal may become 0.
template <class In>
MIXGRAD_INLINE HalfRowU bf16_bits(const In* from) {
  HalfRowU half;
  if constexpr (std::is_same_v<In, bf16>) {
    __builtin_memcpy(&half, from, sizeof half);
  } else {
#if defined(__AVX512BF16__)
    half = (HalfRowU)_mm512_cvtneps_pbh((__m512)load(from));
#else
    std::uint16_t bits[kRow];
    for (int i = 0; i < kRow; ++i) bits[i] = bf16::round(from[i]);
    __builtin_memcpy(&half, bits, sizeof half);
#endif
  }
  return half;
}

// From 16 rows along k.
template <class In>
MIXGRAD_INLINE void pack_rows_along_k(const In* from, std::int64_t ld, std::uint16_t* to) {
  for (int i = 0; i < kTileSide; ++i) {
    MIXGRAD_UNROLL
    for (int q = 0; q < kTileK; q += kRow) {
      const HalfRowU half = bf16_bits(from + i * ld + q);
      __builtin_memcpy(to + i * kTileK + q, &half, sizeof half);
    }
  }
}

// From 32 rows across k.
template <class In>
MIXGRAD_INLINE void pack_pairs(const In* from, std::int64_t ld, std::uint16_t* to) {
  for (int p = 0; p < kTileSide; ++p) {
    MIXGRAD_UNROLL
    for (int j = 0; j < kTileSide; j += kRow) {
      const In* even = from + 2 * p * ld + j;
      const RowU pairs =
          __builtin_convertvector(bf16_bits(even), RowU) | (__builtin_convertvector(bf16_bits(even + ld), RowU) << 16U);
      __builtin_memcpy(to + p * kTileK + 2 * j, &pairs, sizeof pairs);
    }
  }
}

// to[p][j] = from[j][p], 16 x 16 pairs.
MIXGRAD_INLINE void transpose_pairs(const std::uint16_t* from, std::uint16_t* to) {
  for (int p = 0; p < kTileSide; p += 4) {
    for (int j = 0; j < kTileSide; j += kBlockLanes<float>) {
      Block<float> block[4];
      load_transposed<float>(from + j * kTileK + 2 * p, kTileK, block);
      MIXGRAD_UNROLL
      for (int i = 0; i < 4; ++i) __builtin_memcpy(to + (p + i) * kTileK + 2 * j, &block[i], sizeof block[i]);
    }
  }
}

// One tile, of which `count` rows or columns and k elements along k exist.
//   along_k   stored [count][k], else [k][count]
//   rows      wanted as rows, else as pairs
template <class In>
void pack_tile(const In* from, std::int64_t ld, bool along_k, bool rows, std::int64_t count, std::int64_t k,
               std::uint16_t* to) {
  if (count < kTileSide || k < kTileK) {  // filled up with zeros
    count = std::min<std::int64_t>(count, kTileSide);
    k = std::min<std::int64_t>(k, kTileK);
    In whole[kTileElements] = {};
    const std::int64_t width = along_k ? kTileK : kTileSide;
    for (std::int64_t i = 0; i < (along_k ? count : k); ++i) {
      std::copy_n(from + i * ld, along_k ? k : count, whole + i * width);
    }
    return pack_tile(whole, width, along_k, rows, kTileSide, kTileK, to);
  }
  alignas(64) std::uint16_t other[kTileElements];
  std::uint16_t* first = along_k == rows ? to : other;
  if (along_k) {
    pack_rows_along_k(from, ld, first);
  } else {
    pack_pairs(from, ld, first);
  }
  if (along_k != rows) transpose_pairs(other, to);
}

}  // namespace mixgrad::cpu
