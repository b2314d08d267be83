// The implementation of bf16 tiles: operands in bf16, or rounded to it, multiplied 16 x 16 x 32 at a time and added up
// in f32 by the processor's tile unit, or by the same in plain loops (tiles.h).
//
//   C tile of `rows` x `columns`                                  one task
//     for k in blocks of at most KC                               the rows, packed, stay in L2
//       for panels of 32 columns                                  KC x 32 of B stays in L1
//         for groups of 32 rows                                   2 x 2 tile registers of sums
//
// B is packed in a first round of tasks, or by each tile where all rows are in one. An element's sum runs over k in
// order, 32 at a time, from 0 or from the old C: k, alpha and bias are the whole of what its bits depend on.
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "ops/matmul/matmul_implementations.h"
#include "ops/matmul/packed/tile_packing.h"
#include "ops/matmul/packed/tiles.h"
#include "ops/matmul/product_blocks.h"

#if MIXGRAD_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace mixgrad::cpu {

bool has_amx() {
#if MIXGRAD_AMX
  static const bool answer = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
    constexpr unsigned kBf16 = 1U << 22U;
    constexpr unsigned kTile = 1U << 24U;
    if ((d & kBf16) == 0 || (d & kTile) == 0) return false;
    // Linux gives a process the registers when it asks for them: ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA.
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
  }();
  return answer;
#else
  return false;
#endif
}

namespace {

constexpr std::int64_t kSpan = 2 * kTileSide;              // rows of a group of A, columns of a panel of B
constexpr std::int64_t kStepElements = 2 * kTileElements;  // a group or a panel, 32 along k
constexpr std::int64_t kBlockK = kProductInner;
constexpr std::int64_t kMaxRows = kProductTileRows;
constexpr std::int64_t kMaxColumns = kProductColumns;  // where sums are kept beside C
constexpr std::int64_t kWide = 4 * kSpan;  // columns of B packed together: rows are read in pieces of a few cache lines
constexpr std::int64_t kTasks = 16;
static_assert(kTileSide == kProductTileSide && kTileK == 2 * kProductTileSide);

// One rounding where the target has the instruction, as in micro_kernel.h.
MIXGRAD_INLINE float multiply_add(float a, float b, float c) {
#if defined(__FMA__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

// c[32][32], rows `ld` apart, = (with `add`, +=) the product of a group of A and a panel of B, `steps` times 32 along
// k. Of the second half of the rows or columns only where wanted. Registers 0 to 3: sums, 4 and 5: A, 6 and 7: B.
template <class Tiles>
void multiply(Tiles& tiles, std::int64_t steps, const std::uint16_t* a, const std::uint16_t* b, bool all_rows,
              bool all_columns, bool add, float* c, std::int64_t ld) {
  float* below = c + kTileSide * ld;
  tiles.template zero<0>();
  tiles.template zero<1>();
  tiles.template zero<2>();
  tiles.template zero<3>();
  if (add) {
    tiles.template load_sums<0>(c, ld);
    if (all_columns) tiles.template load_sums<1>(c + kTileSide, ld);
    if (all_rows) tiles.template load_sums<2>(below, ld);
    if (all_rows && all_columns) tiles.template load_sums<3>(below + kTileSide, ld);
  }
  for (std::int64_t s = 0; s < steps; ++s) {
    tiles.template load<4>(a);
    tiles.template load<6>(b);
    tiles.template dot<0, 4, 6>();
    if (all_columns) tiles.template load<7>(b + kTileElements);
    if (all_columns) tiles.template dot<1, 4, 7>();
    if (all_rows) tiles.template load<5>(a + kTileElements);
    if (all_rows) tiles.template dot<2, 5, 6>();
    if (all_rows && all_columns) tiles.template dot<3, 5, 7>();
    a += kStepElements;
    b += kStepElements;
  }
  tiles.template store<0>(c, ld);
  if (all_columns) tiles.template store<1>(c + kTileSide, ld);
  if (all_rows) tiles.template store<2>(below, ld);
  if (all_rows && all_columns) tiles.template store<3>(below + kTileSide, ld);
}

// One product of a batch on its way.
template <class Tiles, class In, class Out>
struct Job {
  static constexpr bool kRounds = !std::is_same_v<Out, float>;
  static constexpr std::int64_t kGroupSize = kBlockK / kTileK * kStepElements;  // of A, packed

  Product<In, Out> p;
  std::int64_t rows = 0, columns = 0;  // of a tile of C, multiples of 32
  std::uint16_t* packed_b = nullptr;   // [n / 32][k / 32][2 tiles of pairs]; nullptr: each tile packs for itself

  std::int64_t row_tiles() const { return ceil_div(p.m, rows); }
  std::int64_t column_tiles() const { return ceil_div(p.n, columns); }
  std::int64_t panel_size() const { return ceil_div(p.k, kTileK) * kStepElements; }

  // Whether sums may stand in C from the start; else they are kept beside it and brought there at the end.
  bool in_place() const { return !kRounds && p.alpha == 1 && p.bias == nullptr; }

  // By shape only: about kTasks tiles, of all columns if possible, since each tile packs its rows.
  void plan(bool parallel) {
    const std::int64_t most = ceil_div(p.m, kMaxRows);
    const std::int64_t tiles = parallel ? std::max(most, std::min(kTasks, ceil_div(p.m, 96))) : most;
    rows = round_up(ceil_div(p.m, tiles), kSpan);
    columns = round_up(p.n, kSpan);
    if (parallel && row_tiles() < kTasks) {
      const std::int64_t least = row_tiles() == 1 ? kSpan : 2 * kSpan;
      columns = std::clamp(round_up(ceil_div(p.n, kTasks / row_tiles()), kSpan), std::min(least, columns), columns);
    }
    if (!in_place()) columns = std::min(columns, kMaxColumns);
  }

  void pack(bool parallel) {
    if (row_tiles() == 1) return;
    const std::int64_t groups = ceil_div(p.n, kWide);
    const std::int64_t size = ceil_div(p.n, kSpan) * panel_size();
    packed_b =
        parallel ? caller_scratch<std::uint16_t, kCallerSlot>(size) : thread_scratch<std::uint16_t, kTaskSlot>(size);
    run_tasks(parallel, ceil_div(p.k, kBlockK) * groups, [&](std::int64_t task) {
      const std::int64_t k0 = task / groups * kBlockK;
      const std::int64_t first = task % groups * kWide;
      pack_columns(first, std::min(kWide, p.n - first), k0, std::min(kBlockK, p.k - k0),
                   packed_b + first / kSpan * panel_size() + k0 / kTileK * kStepElements);
    });
  }

  // Columns [first, first + count) and rows [k0, k0 + kc) of op(B), in panels of 32 columns.
  void pack_columns(std::int64_t first, std::int64_t count, std::int64_t k0, std::int64_t kc, std::uint16_t* to) const {
    for (std::int64_t q = 0; q < kc; q += kTileK) {
      for (std::int64_t j = 0; j < count; j += kTileSide) {
        const In* from = p.transpose_b ? p.b + (first + j) * p.ldb + k0 + q : p.b + (k0 + q) * p.ldb + first + j;
        std::uint16_t* tile = to + j / kSpan * panel_size() + q / kTileK * kStepElements;
        pack_tile(from, p.ldb, p.transpose_b, false, count - j, kc - q, tile + j % kSpan / kTileSide * kTileElements);
      }
    }
  }

  // Rows [i0, i0 + m) and columns [k0, k0 + kc) of op(A), in groups of 32 rows.
  void pack_rows(std::int64_t i0, std::int64_t m, std::int64_t k0, std::int64_t kc, std::uint16_t* to) const {
    for (std::int64_t q = 0; q < kc; q += kTileK) {
      for (std::int64_t i = 0; i < m; i += kTileSide) {
        const In* from = p.transpose_a ? p.a + (k0 + q) * p.lda + i0 + i : p.a + (i0 + i) * p.lda + k0 + q;
        std::uint16_t* tile = to + i / kSpan * kGroupSize + q / kTileK * kStepElements;
        pack_tile(from, p.lda, !p.transpose_a, true, m - i, kc - q, tile + i % kSpan / kTileSide * kTileElements);
      }
    }
  }

  void tile(std::int64_t index) const {
    const std::int64_t i0 = index / column_tiles() * rows;
    const std::int64_t j0 = index % column_tiles() * columns;
    const std::int64_t m = std::min(rows, p.m - i0);
    const std::int64_t n = std::min(columns, p.n - j0);
    alignas(64) std::uint16_t a_block[kMaxRows * kBlockK];
    alignas(64) std::uint16_t b_block[kSpan * kBlockK];
    alignas(64) float total[kMaxRows * kMaxColumns];  // the tile of C beside C, or an edge of it
    Tiles tiles;
    for (std::int64_t k0 = 0; k0 < p.k; k0 += kBlockK) {
      const std::int64_t kc = std::min(kBlockK, p.k - k0);
      pack_rows(i0, m, k0, kc, a_block);
      for (std::int64_t j = 0; j < n; j += kSpan) {
        const std::int64_t width = std::min(kSpan, n - j);
        const std::uint16_t* b = b_block;
        if (packed_b != nullptr) {
          b = packed_b + (j0 + j) / kSpan * panel_size() + k0 / kTileK * kStepElements;
        } else {
          pack_columns(j0 + j, width, k0, kc, b_block);
        }
        for (std::int64_t i = 0; i < m; i += kSpan) {
          const std::int64_t height = std::min(kSpan, m - i);
          const auto sum = [&](bool add, float* c, std::int64_t ld) {
            multiply(tiles, ceil_div(kc, kTileK), a_block + i / kSpan * kGroupSize, b, height > kTileSide,
                     width > kTileSide, add, c, ld);
          };
          if constexpr (!kRounds) {
            if (in_place()) {
              sum_in_place(sum, height, width, k0 > 0 || p.accumulate, p.c + (i0 + i) * p.ldc + j0 + j, total);
              continue;
            }
          }
          sum(k0 > 0, total + i * kMaxColumns + j, kMaxColumns);
        }
      }
    }
    if (!in_place()) finish(total, i0, j0, m, n);
  }

  // In C itself, or, where it is not whole tiles, in `edge`.
  template <class Sum>
  void sum_in_place(const Sum& sum, std::int64_t height, std::int64_t width, bool add, float* c, float* edge) const {
    if (height % kTileSide == 0 && width % kTileSide == 0) return sum(add, c, p.ldc);
    const auto copy = [&](const float* from, std::int64_t ld_from, float* to, std::int64_t ld_to) {
      for (std::int64_t i = 0; i < height; ++i) std::copy_n(from + i * ld_from, width, to + i * ld_to);
    };
    if (add) copy(c, p.ldc, edge, kSpan);
    sum(add, edge, kSpan);
    copy(edge, kSpan, c, p.ldc);
  }

  // C (+)= alpha * total + bias.
  void finish(const float* total, std::int64_t i0, std::int64_t j0, std::int64_t m, std::int64_t n) const {
    float bias[kMaxColumns] = {};
    if (p.bias != nullptr) {
      for (std::int64_t j = 0; j < n; ++j) bias[j] = static_cast<float>(p.bias[j0 + j]);
    }
    for (std::int64_t i = 0; i < m; ++i) {
      const float* from = total + i * kMaxColumns;
      Out* to = p.c + (i0 + i) * p.ldc + j0;
      if (p.accumulate) {
#pragma omp simd
        for (std::int64_t j = 0; j < n; ++j) {
          assign(to[j], multiply_add(p.alpha, from[j], static_cast<float>(to[j]) + bias[j]));
        }
      } else {
#pragma omp simd
        for (std::int64_t j = 0; j < n; ++j) assign(to[j], multiply_add(p.alpha, from[j], bias[j]));
      }
    }
  }
};

template <class Tiles, class In, class Out>
void all_products(const Product<In, Out>& p, bool parallel) {
  each_product(p, parallel, kTasks, [](const Product<In, Out>& one, bool cut) {
    Job<Tiles, In, Out> job;
    job.p = one;
    job.plan(cut);
    job.pack(cut);
    run_tasks(cut, job.row_tiles() * job.column_tiles(), [&job](std::int64_t index) { job.tile(index); });
  });
}

}  // namespace

template <class In, class Out>
void matmul_tiles(const Product<In, Out>& p, bool parallel, bool plain) {
#if MIXGRAD_AMX
  if (!plain && has_amx()) return all_products<AmxTiles>(p, parallel);
#endif
  (void)plain;
  all_products<PlainTiles>(p, parallel);
}

template void matmul_tiles<float, float>(const Product<float, float>&, bool, bool);
template void matmul_tiles<bf16, bf16>(const Product<bf16, bf16>&, bool, bool);
template void matmul_tiles<bf16, float>(const Product<bf16, float>&, bool, bool);

}  // namespace mixgrad::cpu
