// The packed implementation, blocked in the manner of BLIS.
//
//   C tile of `rows` x `columns`                                  one task
//     for k in blocks of at most KC                               a panel of B block, KC x NR, stays in L1
//       for panels of NR columns of the tile                      the block of A, rows x KC, stays in L2
//         for groups of MR rows of the tile
//           micro-kernel                                          MR x NR sums in registers
//
// The sum of an element is cut along k at multiples of KC, each piece starts at 0 and is added to the total in order:
// that is the whole of what an element's bits depend on, and short pieces keep the rounding error of long sums small.
//
// B is packed in a first round of tasks, for all tiles. When the rows fit into one tile, each panel of B has a single
// reader, which packs it itself just before use: one parallel region instead of two, and m = 1 reads the weights once.
// An A that is not transposed (and not bf16) is read in place. Any other is packed by each tile, block of k by block
// just before its use, so that the kernel finds it in L2: packed once for all tiles it would go to memory and come
// back.
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "ops/matmul/matmul_implementations.h"
#include "ops/matmul/packed/micro_kernel.h"
#include "ops/matmul/packed/packing.h"
#include "ops/matmul/product_blocks.h"

namespace mixgrad::cpu {
namespace {

// KC: a panel of B takes 16 KiB of L1, with AVX-512 32 (f64: the same, with half as many columns).
constexpr std::int64_t kBlockK = kProductInner;
// The largest tile of C.
constexpr std::int64_t kMaxRows = kProductRows / kTileRows * kTileRows;
constexpr std::int64_t kMaxColumns = kProductColumns;
static_assert(kTileRows <= kProductRegisterRows);
// As many tiles as a product is cut into, so that 16 threads get two each.
constexpr std::int64_t kTasks = 32;

// One product of a batch on its way: sizes of tiles and the packed operands.
template <class In, class Out>
struct Job {
  using T = acc_t<In>;
  static constexpr std::int64_t kMr = kTileRows;
  static constexpr std::int64_t kNr = kTileColumns<T>;
  static constexpr bool kRounds = !std::is_same_v<T, Out>;  // C is narrower than the sums

  Product<In, Out> p;
  std::int64_t rows = 0;     // of a tile, a multiple of kMr
  std::int64_t columns = 0;  // of a tile, a multiple of kNr
  T* packed_b = nullptr;     // nullptr: each tile packs for itself

  std::int64_t row_tiles() const { return ceil_div(p.m, rows); }
  std::int64_t column_tiles() const { return ceil_div(p.n, columns); }

  static constexpr std::int64_t kMinColumns = 256 / static_cast<std::int64_t>(sizeof(T));

  // By shape only: at most L1/L2-sized tiles, and about kTasks of them, but none smaller than 4 micro-tiles x 256
  // bytes.
  void plan(bool parallel) {
    columns = round_up(ceil_div(p.n, ceil_div(p.n, kMaxColumns)), kNr);
    rows = std::min(round_up(p.m, kMr), kMaxRows);
    if (!parallel) return;
    if (p.m <= kMaxRows / 2) {  // few rows: one row of tiles, cut along n
      columns = std::clamp(round_up(ceil_div(p.n, kTasks), kNr), std::min(2 * kNr, columns), columns);
      return;
    }
    const std::int64_t wanted = ceil_div(kTasks, column_tiles());
    rows = std::clamp(round_up(ceil_div(p.m, wanted), kMr), std::min(4 * kMr, rows), rows);
    if (row_tiles() * column_tiles() < kTasks) {
      columns = std::clamp(round_up(ceil_div(p.n, ceil_div(kTasks, row_tiles())), kNr), std::min(kMinColumns, columns),
                           columns);
    }
  }

  // Packing tasks for B: groups of panels times blocks of k. A group is wide enough that the rows of a plain B are read
  // in pieces of a few cache lines, and at most the 8 lines that one set of L1 holds are written at a time (panels
  // often lie a multiple of 4 KiB apart). In the order of k: in a weight's gradient these are the tokens, and the rows
  // of a thread's own tokens are in its caches.
  void pack(bool parallel) {
    if (row_tiles() == 1) return;
    constexpr std::int64_t kGroup = 4 * kNr;
    const std::int64_t groups = ceil_div(p.n, kGroup);
    const std::int64_t size = round_up(p.n, kNr) * p.k;
    packed_b = parallel ? caller_scratch<T, kCallerSlot>(size) : thread_scratch<T, kTaskSlot>(size);
    run_tasks(parallel, ceil_div(p.k, kBlockK) * groups, [&](std::int64_t task) {
      const std::int64_t k0 = task / groups * kBlockK;
      const std::int64_t first = task % groups * kGroup;
      pack_b(first, std::min(kGroup, p.n - first), k0, std::min(kBlockK, p.k - k0), packed_b + first * p.k + k0 * kNr,
             kNr * p.k);
    });
  }

  // Columns [first, first + count) and rows [k0, k0 + kc) of op(B), in panels panel_size apart.
  void pack_b(std::int64_t first, std::int64_t count, std::int64_t k0, std::int64_t kc, T* to,
              std::int64_t panel_size) const {
    if (!p.transpose_b) return pack_rows<kTileColumns<T>>(p.b + k0 * p.ldb + first, p.ldb, kc, count, to, panel_size);
    for (std::int64_t j = 0; j < count; j += kNr) {
      pack_columns<kTileColumns<T>>(p.b + (first + j) * p.ldb + k0, p.ldb, kc, count - j, to + j / kNr * panel_size);
    }
  }

  static constexpr bool kConverts = !std::is_same_v<T, In>;

  // Some rows of op(A) and a block of k as the kernel reads them: groups of kMr rows, the rows of a group `row` apart.
  struct BlockOfA {
    const T* from;
    std::int64_t group, row;
  };
  // Panels or rows of a block are a line further apart than KC, or each would begin in the same set of L1.
  static constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(T));
  static constexpr std::int64_t kPanelOfA = kBlockK * kMr + kLine;
  static constexpr std::int64_t kRowOfA = kBlockK + kLine;

  // Rows [i0, i0 + count) and columns [k0, k0 + kc) of op(A), in place or packed into `to`.
  BlockOfA block_of_a(std::int64_t i0, std::int64_t count, std::int64_t k0, std::int64_t kc, T* to) const {
    if (p.transpose_a) {
      pack_rows<kTileRows>(p.a + k0 * p.lda + i0, p.lda, kc, count, to, kPanelOfA);
      return {to, kPanelOfA, 1};
    }
    if constexpr (kConverts) {
      convert_rows(p.a + i0 * p.lda + k0, p.lda, count, kc, to, kRowOfA);
      return {to, kMr * kRowOfA, kRowOfA};
    } else {
      return {p.a + i0 * p.lda + k0, kMr * p.lda, p.lda};
    }
  }

  // The second cache of a core with AVX-512 (1 or 2 MiB) holds two blocks of A beside B and C; where it is smaller, a
  // block that is read in place is left to the hardware, which does foresee the rest of a row.
  static constexpr bool kFetchesRows = kVectorBytes == 64;

  // What a tile reads of A after the block at k0: its next block, or the first one of the next tile.
  AheadBlock after(std::int64_t tile, std::int64_t k0) const {
    if (packed_b == nullptr || (!p.transpose_a && !kFetchesRows)) return {};
    k0 += kBlockK;
    if (k0 >= p.k) {
      k0 = 0;
      ++tile;
      if (tile >= row_tiles() * column_tiles()) return {};
      if (p.k <= kBlockK && tile % column_tiles() != 0) return {};  // the same block again
    }
    const std::int64_t i0 = tile / column_tiles() * rows;
    const std::int64_t m = std::min(rows, p.m - i0);
    const std::int64_t kc = std::min(kBlockK, p.k - k0);
    if (p.transpose_a) return {p.a + k0 * p.lda + i0, p.lda, kc, m};
    return {p.a + i0 * p.lda + k0, p.lda, m, kc};
  }

  // All rows of the tile, one panel of columns, one block of k. BStep: see micro_kernel. While this panel of B is in
  // use, the next one, and of A what is read after this block, come to L2.
  template <int BStep>
  void panel(std::int64_t count, const BlockOfA& a, const T* b, const T* next_panel, AheadBlock& next_block,
             std::int64_t kc, T* c, std::int64_t ldc, const Finish<T>& finish) const {
    const std::int64_t fetches = kc / kUnroll * kFetches;
    AheadBlock panel_ahead;
    if (next_panel != nullptr) panel_ahead = {next_panel, kLine, kc * kNr / kLine, kLine};
    for (std::int64_t i = 0; i < count; i += kMr) {
      const std::int64_t some = std::min(kMr, count - i);
      const T* rows_of_a = a.from + i / kMr * a.group;
      Ahead next{reinterpret_cast<const char*>(b), 0};
      if (!next_block.empty() && (panel_ahead.empty() || i / kMr % 2 != 0)) {  // in turn
        next = next_block.next(fetches);
      } else if (!panel_ahead.empty()) {
        next = panel_ahead.next(fetches);
      }
      if (p.transpose_a) {
        micro_tile<T, kTileRows, BStep>(some, kc, rows_of_a, 1, b, p.ldb, c + i * ldc, ldc, finish, next);
      } else {
        micro_tile<T, 1, BStep>(some, kc, rows_of_a, a.row, b, p.ldb, c + i * ldc, ldc, finish, next);
      }
    }
  }

  // The same for the only row of a product, with B read in place.
  void row_panel(const BlockOfA& a, std::int64_t j, std::int64_t k0, std::int64_t kc, T* c,
                 const Finish<T>& finish) const {
    row_kernel(kc, a.from, p.transpose_a ? kMr : 1, p.b + j * p.ldb + k0, p.ldb, c, finish);
  }

  void tile(std::int64_t index) const {
    const std::int64_t i0 = index / column_tiles() * rows;
    const std::int64_t j0 = index % column_tiles() * columns;
    const std::int64_t m = std::min(rows, p.m - i0);
    const std::int64_t n = std::min(columns, p.n - j0);
    alignas(64) T a_block[kMaxRows * kRowOfA];
    alignas(64) T b_block[kBlockK * kNr];
    alignas(64) T bias[kNr] = {};
    alignas(64) T edge[kMaxRows * kNr];                         // a panel of C that is not whole
    alignas(64) T total[kRounds ? kMaxRows * kMaxColumns : 1];  // the tile of C before rounding
    for (std::int64_t k0 = 0; k0 < p.k; k0 += kBlockK) {
      const std::int64_t kc = std::min(kBlockK, p.k - k0);
      const BlockOfA a = block_of_a(i0, m, k0, kc, a_block);
      AheadBlock next_a = after(index, k0);
      Finish<T> finish{p.alpha, nullptr, k0 > 0 || (p.accumulate && !kRounds)};
      for (std::int64_t j = 0; j < n; j += kNr) {
        const std::int64_t width = std::min(kNr, n - j);
        const T* b = b_block;
        const T* next_b = nullptr;
        bool in_place = false, row_alone = false;
        if (packed_b != nullptr) {
          b = packed_b + (j0 + j) * p.k + k0 * kNr;
          next_b = j + kNr < n ? b + kNr * p.k : packed_b + j0 * p.k + (k0 + kBlockK) * kNr;
        } else if (kTransposesVectors && p.transpose_b && p.m == 1 && width == kNr) {
          row_alone = true;
        } else if (reads_b_in_place(width, m)) {
          in_place = true;
        } else {
          pack_b(j0 + j, width, k0, kc, b_block, 0);
        }
        if (p.bias != nullptr && k0 == 0) {
          for (std::int64_t x = 0; x < width; ++x) bias[x] = static_cast<T>(p.bias[j0 + j + x]);
          finish.bias = bias;
        }
        if constexpr (kTransposesVectors) {
          if (row_alone) {
            row_panel(a, j0 + j, k0, kc, kRounds ? total + j : reinterpret_cast<T*>(p.c) + j0 + j, finish);
            continue;
          }
        }
        if constexpr (kRounds) {
          panel<kTileColumns<T>>(m, a, b, next_b, next_a, kc, total + j, columns, finish);
        } else {
          T* const c = p.c + i0 * p.ldc + j0 + j;
          if (width == kNr) {
            if constexpr (!kConverts) {
              if (in_place) {
                panel<0>(m, a, p.b + k0 * p.ldb + j0 + j, nullptr, next_a, kc, c, p.ldc, finish);
                continue;
              }
            }
            panel<kTileColumns<T>>(m, a, b, next_b, next_a, kc, c, p.ldc, finish);
            continue;
          }
          if (finish.add) copy_panel(c, p.ldc, edge, kNr, m, width);
          panel<kTileColumns<T>>(m, a, b, next_b, next_a, kc, edge, kNr, finish);
          copy_panel(edge, kNr, c, p.ldc, m, width);
        }
      }
    }
    if constexpr (kRounds) round(total, i0, j0, m, n);
  }

  // Rows of B as they stand, where copying a panel would cost more than reading it with a stride.
  bool reads_b_in_place(std::int64_t width, std::int64_t m) const {
    return !kConverts && !p.transpose_b && width == kNr && m <= 4 * kMr;
  }

  static void copy_panel(const T* from, std::int64_t ld_from, T* to, std::int64_t ld_to, std::int64_t m,
                         std::int64_t width) {
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < width; ++j) to[i * ld_to + j] = from[i * ld_from + j];
    }
  }

  // The one rounding of a narrow C.
  void round(const T* total, std::int64_t i0, std::int64_t j0, std::int64_t m, std::int64_t n) const {
    for (std::int64_t i = 0; i < m; ++i) {
      const T* from = total + i * columns;
      Out* to = p.c + (i0 + i) * p.ldc + j0;
      if (p.accumulate) {
        for (std::int64_t j = 0; j < n; ++j) to[j] = static_cast<Out>(from[j] + static_cast<T>(to[j]));
      } else {
        for (std::int64_t j = 0; j < n; ++j) to[j] = static_cast<Out>(from[j]);
      }
    }
  }
};

// One product, its tiles over the threads or in the calling one.
template <class In, class Out>
void one_product(const Product<In, Out>& product, bool parallel) {
  Job<In, Out> job;
  job.p = product;
  job.plan(parallel);
  job.pack(parallel);
  run_tasks(parallel, job.row_tiles() * job.column_tiles(), [&job](std::int64_t index) { job.tile(index); });
}

}  // namespace

template <class In, class Out>
void matmul_packed(const Product<In, Out>& p, bool parallel) {
  each_product(p, parallel, kTasks, [](const Product<In, Out>& one, bool cut) { one_product(one, cut); });
}

#define MIXGRAD_MATMUL(In, Out) template void matmul_packed<In, Out>(const Product<In, Out>&, bool);
MIXGRAD_INSTANTIATE_MATMUL(MIXGRAD_MATMUL)
#undef MIXGRAD_MATMUL

}  // namespace mixgrad::cpu
