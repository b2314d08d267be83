// Private to ops/matmul: copies of operands in the order in which the micro-kernel reads them.
//
//   panel of B   [k][kTileColumns]   one kernel step reads one row of it; columns past n are 0
//   panel of A   [k][kTileRows]      for a transposed A; rows past m are 0
//   rows of A    [m][k] in T         for a bf16 A that is not transposed; a float A is then read in place
//
// The zeros meet real elements only in lanes that are never stored.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "core/dtype.h"
#include "ops/matmul/packed/micro_kernel.h"

namespace mixgrad::cpu {

// 128 bits of T, the unit in which x86 transposes cheaply.
typedef float QuadF __attribute__((vector_size(16)));             // NOLINT(modernize-use-using)
typedef double QuadD __attribute__((vector_size(16)));            // NOLINT(modernize-use-using)
typedef std::uint32_t QuadU __attribute__((vector_size(16)));     // NOLINT(modernize-use-using)
typedef std::uint16_t HalfQuadU __attribute__((vector_size(8)));  // NOLINT(modernize-use-using)
template <class T>
using Quad = std::conditional_t<std::is_same_v<T, double>, QuadD, QuadF>;

template <class T, class In>
MIXGRAD_INLINE Quad<T> load_quad(const In* from) {
  Quad<T> q;
  if constexpr (std::is_same_v<In, bf16>) {
    HalfQuadU half;
    __builtin_memcpy(&half, from, sizeof(half));
    const QuadU word = __builtin_convertvector(half, QuadU) << 16;
    __builtin_memcpy(&q, &word, sizeof(q));
  } else {
    __builtin_memcpy(&q, from, sizeof(q));
  }
  return q;
}

// Count elements, Count known at compile time. (__builtin_memcpy: where compilers define _FORTIFY_SOURCE by themselves,
// as Ubuntu's do, std::memcpy into a block on the stack is a checked call for each of these few bytes.)
template <int Count, class T, class In>
MIXGRAD_INLINE void copy_row(T* to, const In* from) {
  if constexpr (std::is_same_v<T, In>) {
    __builtin_memcpy(to, from, Count * sizeof(T));
  } else {
    constexpr int kWhole = Count / 4 * 4;
    MIXGRAD_UNROLL
    for (int j = 0; j < kWhole; j += 4) {
      const Quad<T> q = load_quad<T>(from + j);
      __builtin_memcpy(to + j, &q, sizeof(q));
    }
    for (int j = kWhole; j < Count; ++j) to[j] = static_cast<T>(from[j]);
  }
}

// Panels of Width from rows: to[panel][p][j] = from[p * ld + panel * Width + j], p in [0, k), zeros past `columns`.
// Panels lie panel_size elements apart. The rows are walked in the outer loop, so that each is touched once.
template <int Width, class T, class In>
void pack_rows(const In* from, std::int64_t ld, std::int64_t k, std::int64_t columns, T* to, std::int64_t panel_size) {
  const std::int64_t whole = columns / Width;
  const std::int64_t rest = columns % Width;
  for (std::int64_t p = 0; p < k; ++p) {
    const In* source = from + p * ld;
    T* target = to + p * Width;
    for (std::int64_t panel = 0; panel < whole; ++panel) {
      copy_row<Width>(target, source);
      source += Width;
      target += panel_size;
    }
    if (rest == 0) continue;
    for (int j = 0; j < Width; ++j) target[j] = j < rest ? static_cast<T>(source[j]) : T(0);
  }
}

// What is transposed at a time: kQuad elements along k of kBlockLanes columns, in vectors of 128 or 256 bits.
inline constexpr int kBlockBytes = kVectorBytes >= 32 ? 32 : 16;
inline constexpr bool kTransposesVectors = kBlockBytes == kVectorBytes;
typedef float BlockF __attribute__((vector_size(kBlockBytes)));          // NOLINT(modernize-use-using)
typedef double BlockD __attribute__((vector_size(kBlockBytes)));         // NOLINT(modernize-use-using)
typedef std::uint32_t BlockU __attribute__((vector_size(kBlockBytes)));  // NOLINT(modernize-use-using)
template <class T>
using Block = std::conditional_t<std::is_same_v<T, double>, BlockD, BlockF>;
template <class T>
inline constexpr int kQuad = 16 / static_cast<int>(sizeof(T));
template <class T>
inline constexpr int kBlockLanes = kBlockBytes / static_cast<int>(sizeof(T));

// The transpose within each 128 bits: 4 x 4 float or 2 x 2 double.
#if defined(__AVX2__) || defined(__AVX512F__)
MIXGRAD_INLINE BlockF join(QuadF a, QuadF b) { return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7); }
MIXGRAD_INLINE BlockD join(QuadD a, QuadD b) { return __builtin_shufflevector(a, b, 0, 1, 2, 3); }
MIXGRAD_INLINE void transpose(BlockF (&q)[4]) {
  const BlockF a = __builtin_shufflevector(q[0], q[1], 0, 8, 1, 9, 4, 12, 5, 13);
  const BlockF b = __builtin_shufflevector(q[2], q[3], 0, 8, 1, 9, 4, 12, 5, 13);
  const BlockF c = __builtin_shufflevector(q[0], q[1], 2, 10, 3, 11, 6, 14, 7, 15);
  const BlockF d = __builtin_shufflevector(q[2], q[3], 2, 10, 3, 11, 6, 14, 7, 15);
  q[0] = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
  q[1] = __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
  q[2] = __builtin_shufflevector(c, d, 0, 1, 8, 9, 4, 5, 12, 13);
  q[3] = __builtin_shufflevector(c, d, 2, 3, 10, 11, 6, 7, 14, 15);
}
MIXGRAD_INLINE void transpose(BlockD (&q)[2]) {
  const BlockD a = q[0];
  const BlockD b = q[1];
  q[0] = __builtin_shufflevector(a, b, 0, 4, 2, 6);
  q[1] = __builtin_shufflevector(a, b, 1, 5, 3, 7);
}
#else
MIXGRAD_INLINE void transpose(BlockF (&q)[4]) {
  const BlockF a = __builtin_shufflevector(q[0], q[1], 0, 4, 1, 5);
  const BlockF b = __builtin_shufflevector(q[2], q[3], 0, 4, 1, 5);
  const BlockF c = __builtin_shufflevector(q[0], q[1], 2, 6, 3, 7);
  const BlockF d = __builtin_shufflevector(q[2], q[3], 2, 6, 3, 7);
  q[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
  q[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
  q[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
  q[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}
MIXGRAD_INLINE void transpose(BlockD (&q)[2]) {
  const BlockD a = q[0];
  const BlockD b = q[1];
  q[0] = __builtin_shufflevector(a, b, 0, 2);
  q[1] = __builtin_shufflevector(a, b, 1, 3);
}
#endif

// block[p][j] = from[j * ld + p]. From std::uint16_t, the bits of bf16, no numbers but pairs come: from[j * ld + 2p] in
// the lower and from[j * ld + 2p + 1] in the upper half of each float.
template <class T, class In>
MIXGRAD_INLINE void load_transposed(const In* from, std::int64_t ld, Block<T> (&block)[kQuad<T>]) {
  MIXGRAD_UNROLL
  for (int i = 0; i < kQuad<T>; ++i) {
    const Quad<T> low = load_quad<T>(from + i * ld);
    if constexpr (kBlockBytes == 16) {
      __builtin_memcpy(&block[i], &low, sizeof(low));
    } else {
      block[i] = join(low, load_quad<T>(from + (i + kQuad<T>)*ld));
    }
  }
  transpose(block);
}

// One panel of Width from columns: to[p][j] = from[j * ld + p], p in [0, k), zeros for j >= columns.
template <int Width, class T, class In>
void pack_columns(const In* from, std::int64_t ld, std::int64_t k, std::int64_t columns, T* to) {
  constexpr int kQ = kQuad<T>;
  constexpr int kL = kBlockLanes<T>;
  const int whole = static_cast<int>(std::min<std::int64_t>(columns, Width)) / kL * kL;
  const std::int64_t whole_k = k / kQ * kQ;
  for (int j = 0; j < whole; j += kL) {
    for (std::int64_t p = 0; p < whole_k; p += kQ) {
      Block<T> block[kQ];
      load_transposed<T>(from + j * ld + p, ld, block);
      MIXGRAD_UNROLL
      for (int i = 0; i < kQ; ++i) __builtin_memcpy(to + (p + i) * Width + j, &block[i], sizeof(block[i]));
    }
  }
  for (std::int64_t p = whole_k; p < k; ++p) {
    for (int j = 0; j < whole; ++j) to[p * Width + j] = static_cast<T>(from[j * ld + p]);
  }
  for (int j = whole; j < Width; ++j) {
    for (std::int64_t p = 0; p < k; ++p) to[p * Width + j] = j < columns ? static_cast<T>(from[j * ld + p]) : T(0);
  }
}

// One row of C for a transposed B in place: pack_columns and micro_kernel in one, without the memory in between.
//   a(p) = a[p * a_step], b(p, j) = b[j * ldb + p], j in [0, kTileColumns)
template <class T, class In>
__attribute__((noinline)) void row_kernel(std::int64_t k, const T* a, std::int64_t a_step, const In* b,
                                          std::int64_t ldb, T* c, const Finish<T>& finish) {
  static_assert(kBlockLanes<T> == kLanes<T>);
  constexpr int kQ = kQuad<T>;
  constexpr int kL = kLanes<T>;
  Vector<T> sum[kVectors] = {};
  std::int64_t p = 0;
  if constexpr (std::is_same_v<In, bf16>) {  // half the loads and shuffles of a block of floats
    for (; p + 2 * kQ <= k; p += 2 * kQ) {
      MIXGRAD_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        Block<T> pairs[kQ];
        load_transposed<T>(&b[v * kL * ldb + p].bits, ldb, pairs);
        MIXGRAD_UNROLL
        for (int i = 0; i < kQ; ++i) {
          const auto bits = (BlockU)pairs[i];
          sum[v] = fma(broadcast(a[(p + 2 * i) * a_step]), (Block<T>)(bits << 16U), sum[v]);
          sum[v] = fma(broadcast(a[(p + 2 * i + 1) * a_step]), (Block<T>)(bits & 0xffff0000U), sum[v]);
        }
      }
    }
  } else {
    for (; p + kQ <= k; p += kQ) {
      MIXGRAD_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        Block<T> block[kQ];
        load_transposed<T>(b + v * kL * ldb + p, ldb, block);
        MIXGRAD_UNROLL
        for (int i = 0; i < kQ; ++i) sum[v] = fma(broadcast(a[(p + i) * a_step]), block[i], sum[v]);
      }
    }
  }
  for (; p < k; ++p) {
    for (int v = 0; v < kVectors; ++v) {
      T column[kL];
      for (int j = 0; j < kL; ++j) column[j] = static_cast<T>(b[(v * kL + j) * ldb + p]);
      sum[v] = fma(broadcast(a[p * a_step]), load(column), sum[v]);
    }
  }
  MIXGRAD_UNROLL
  for (int v = 0; v < kVectors; ++v) finish_vector(finish, v * kL, sum[v], c + v * kL);
}

// to[i][p] = from[i * ld + p]: rows in T, ld_to apart.
template <class T, class In>
void convert_rows(const In* from, std::int64_t ld, std::int64_t rows, std::int64_t k, T* to, std::int64_t ld_to) {
  for (std::int64_t i = 0; i < rows; ++i) {
    std::int64_t p = 0;
    for (; p + 8 <= k; p += 8) copy_row<8>(to + i * ld_to + p, from + i * ld + p);
    for (; p < k; ++p) to[i * ld_to + p] = static_cast<T>(from[i * ld + p]);
  }
}

}  // namespace mixgrad::cpu
