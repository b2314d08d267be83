// Private to ops/matmul: vectors, and the register-blocked kernel of the packed product.
//
// The kernel computes a tile of R rows x NR columns, NR = kVectors * lanes, with all partial sums in registers:
//
//   sum[r][j] = fma(A[r][p], B[p][j], sum[r][j])      p = 0, 1, ..., k-1, from 0
//   C[r][j]   = fma(alpha, sum[r][j], C[r][j] or bias[j] or 0)
//
// One lane holds one element of C, so an element sees the same operations at any position in any tile; a tile with
// fewer rows is the same template with a smaller R. 6 rows x 2 vectors need 12 registers for sums, 2 for B and 1 for a
// broadcast of A: 15 of the 16 of AVX2, and 12 independent chains cover the latency (4) of two FMA units. AVX-512 has
// 32 registers, and all of 8 x 2, 12 x 2, 14 x 2, 8 x 3 reach the FMA limit of Zen 4: 8 x 2 is the smallest, divides
// most sizes, and its panels of A are whole vectors (14 x 2: README.md).
#pragma once

#include <cstdint>

#include "core/numeric/simd.h"
#include "ops/matmul/packed/ahead.h"
#if defined(__FMA__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace mixgrad::cpu {

inline constexpr int kTileRows = kVectorBytes == 64 ? 8 : 6;

// Steps of k at a time, and the lines that are fetched ahead in them (ahead.h).
inline constexpr int kUnroll = 4;
inline constexpr int kFetches = kVectorBytes == 64 ? 2 : 1;

// MR and NR.
inline constexpr int kVectors = 2;
template <class T>
inline constexpr int kTileColumns = kVectors* kLanes<T>;

#if defined(__clang__)
#define MIXGRAD_UNROLL _Pragma("clang loop unroll(full)")
#else
#define MIXGRAD_UNROLL _Pragma("GCC unroll 32")
#endif

using VectorF = Vector<float>;
using VectorD = Vector<double>;

// a * b + c with one rounding where the target has the instruction, and with two elsewhere: named, not left to the
// compiler's contraction, so that every path through the library rounds alike.
#if defined(__AVX512F__)
MIXGRAD_INLINE VectorF fma(VectorF a, VectorF b, VectorF c) { return (VectorF)_mm512_fmadd_ps(a, b, c); }
MIXGRAD_INLINE VectorD fma(VectorD a, VectorD b, VectorD c) { return (VectorD)_mm512_fmadd_pd(a, b, c); }
#elif defined(__FMA__) && defined(__AVX2__)
MIXGRAD_INLINE VectorF fma(VectorF a, VectorF b, VectorF c) { return (VectorF)_mm256_fmadd_ps(a, b, c); }
MIXGRAD_INLINE VectorD fma(VectorD a, VectorD b, VectorD c) { return (VectorD)_mm256_fmadd_pd(a, b, c); }
#else
MIXGRAD_INLINE VectorF fma(VectorF a, VectorF b, VectorF c) { return a * b + c; }
MIXGRAD_INLINE VectorD fma(VectorD a, VectorD b, VectorD c) { return a * b + c; }
#endif

// What happens to the finished sums of a tile: C = alpha * sum (+ bias) (+ C).
template <class T>
struct Finish {
  T alpha;
  const T* bias;  // kTileColumns values, or nullptr
  bool add;       // read C
};

// One vector of a row, `column` elements into its panel.
template <class T>
MIXGRAD_INLINE void finish_vector(const Finish<T>& finish, int column, Vector<T> sum, T* to) {
  const Vector<T> alpha = broadcast(finish.alpha);
  if (finish.add) {
    Vector<T> old = load(to);
    if (finish.bias != nullptr) old += load(finish.bias + column);
    store(to, fma(alpha, sum, old));
  } else if (finish.bias != nullptr) {
    store(to, fma(alpha, sum, load(finish.bias + column)));
  } else {
    store(to, alpha * sum);
  }
}

// Hides a value from the optimizer. Without it GCC folds the loads of B into each multiply-add (twelve loads instead of
// two), keeps one address per row and step, and lets sums wander between registers until some are spilled.
#if defined(__x86_64__)
#define MIXGRAD_OPAQUE_VECTOR(v) __asm__("" : "+v"(v))
#define MIXGRAD_OPAQUE_ADDRESS(p) __asm__("" : "+r"(p))
#else
#define MIXGRAD_OPAQUE_VECTOR(v) static_cast<void>(v)
#define MIXGRAD_OPAQUE_ADDRESS(p) static_cast<void>(p)
#endif

// a(r, p) = a[r * a_row + p * AStep]: AStep = 1 reads rows of A in place, AStep = kTileRows a packed panel (a_row = 1).
// b(p, j) = b[p * b_step + j]: BStep = kTileColumns reads a packed panel, BStep = 0 rows of B in place, b_step apart.
// next: what later calls read.
template <class T, int Rows, int AStep, int BStep>
__attribute__((noinline)) MIXGRAD_NO_UBSAN void micro_kernel(std::int64_t k, const T* a, std::int64_t a_row, const T* b,
                                                             std::int64_t b_step, T* c, std::int64_t ldc,
                                                             const Finish<T>& finish, Ahead next) {
  constexpr int kL = kLanes<T>;
  constexpr int kGroup = 3;  // rows reached from one address: base, base + stride, base + 2 * stride
  constexpr int kGroups = (Rows + kGroup - 1) / kGroup;
  if constexpr (AStep != 1) a_row = 1;
  if constexpr (BStep != 0) b_step = BStep;
  const T* base[kGroups];
  MIXGRAD_UNROLL
  for (int g = 0; g < kGroups; ++g) base[g] = a + g * kGroup * a_row;
  Vector<T> sum[Rows][kVectors] = {};
  const auto step = [&](int p) __attribute__((always_inline)) MIXGRAD_NO_UBSAN {
    Vector<T> column[kVectors];
    MIXGRAD_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      column[v] = load(b + v * kL);
      MIXGRAD_OPAQUE_VECTOR(column[v]);
    }
    MIXGRAD_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const T* const row = AStep != 1 ? a + r : base[r / kGroup] + r % kGroup * a_row;
      const Vector<T> x = broadcast(row[p * AStep]);
      MIXGRAD_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        sum[r][v] = fma(x, column[v], sum[r][v]);
        MIXGRAD_OPAQUE_VECTOR(sum[r][v]);
      }
    }
    b += b_step;
  };
  const auto advance = [&](int steps) __attribute__((always_inline)) MIXGRAD_NO_UBSAN {
    if constexpr (AStep != 1) {
      a += steps * AStep;
      MIXGRAD_OPAQUE_ADDRESS(a);
    } else {
      MIXGRAD_UNROLL
      for (int g = 0; g < kGroups; ++g) {
        base[g] += steps;
        MIXGRAD_OPAQUE_ADDRESS(base[g]);
      }
    }
    MIXGRAD_OPAQUE_ADDRESS(b);
  };
  // C is wanted only after k steps; ask for it now.
  constexpr int kLine = 64 / static_cast<int>(sizeof(T));
  MIXGRAD_UNROLL
  for (int r = 0; r < Rows; ++r) {
    MIXGRAD_UNROLL
    for (int j = 0; j < kVectors * kL; j += kLine) __builtin_prefetch(c + r * ldc + j, 1);
  }
  std::int64_t p = 0;
  for (; p + kUnroll <= k; p += kUnroll) {
    MIXGRAD_UNROLL
    for (int q = 0; q < kUnroll; ++q) step(q);
    advance(kUnroll);
    MIXGRAD_UNROLL
    for (int f = 0; f < kFetches; ++f) {
      __builtin_prefetch(next.from, 0, 2);
      next.from += next.step;
    }
  }
  for (; p < k; ++p) {
    step(0);
    advance(1);
  }
  MIXGRAD_UNROLL
  for (int r = 0; r < Rows; ++r) {
    MIXGRAD_UNROLL
    for (int v = 0; v < kVectors; ++v) finish_vector(finish, v * kL, sum[r][v], c + r * ldc + v * kL);
  }
}

// The kernel for 1 .. kTileRows rows.
template <class T, int AStep, int BStep, int Rows = kTileRows>
MIXGRAD_INLINE void micro_tile(std::int64_t rows, std::int64_t k, const T* a, std::int64_t a_row, const T* b,
                               std::int64_t b_step, T* c, std::int64_t ldc, const Finish<T>& finish, Ahead next) {
  if (Rows == 1 || rows == Rows) {
    micro_kernel<T, Rows, AStep, BStep>(k, a, a_row, b, b_step, c, ldc, finish, next);
  } else if constexpr (Rows > 1) {
    micro_tile<T, AStep, BStep, Rows - 1>(rows, k, a, a_row, b, b_step, c, ldc, finish, next);
  }
}

}  // namespace mixgrad::cpu
