// The packed rung, blocked in the manner of BLIS.
//
//   C tile of `rows` x `columns`                                  one task
//     for k in blocks of at most KC                               a panel of B block, KC x NR, stays in L1
//       for panels of NR columns of the tile                      a block of A, rows x KC, stays in L2
//         for groups of MR rows of the tile
//           micro-kernel                                          MR x NR sums in registers
//
// The sum of an element is cut along k at multiples of KC, each piece starts at 0 and is added to the total in order:
// that is the whole of what an element's bits depend on, and short pieces keep the rounding error of long sums small.
//
// Packing is a first round of tasks, shared by all tiles. When the rows fit into one tile, each panel of B has a single
// reader, which packs it itself just before use: one parallel region instead of two, and m = 1 reads the weights once.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <type_traits>

#include "core/error.h"
#include "ops/matmul/matmul_rungs.h"
#include "ops/matmul/micro_kernel.h"
#include "ops/matmul/packing.h"

namespace mixgrad::cpu {
namespace {

// KC: a panel of B takes 16 KiB (f64: the same, with half as many columns) of the 32 KiB of L1.
constexpr std::int64_t kBlockK = 256;
// The largest tile of C.
constexpr std::int64_t kMaxRows = 96 / kTileRows * kTileRows;
constexpr std::int64_t kMaxColumns = 256;
// As many tiles as a product is cut into, so that 16 threads get two each.
constexpr std::int64_t kTasks = 32;
// Multiply-adds below which a parallel region (a few us) does not pay.
constexpr std::int64_t kSerialWork = std::int64_t{1} << 19;

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }

// Grow-only memory of one thread, aligned to cache lines.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  T* get(std::int64_t count) {
    if (count > capacity_) {
      std::free(data_);
      capacity_ = 0;
      const auto bytes = static_cast<std::size_t>(round_up(count * static_cast<std::int64_t>(sizeof(T)), 4096));
      data_ = static_cast<T*>(std::aligned_alloc(4096, bytes));
      if (data_ == nullptr) raise<OutOfMemory>("matmul: a packing buffer needs ", bytes, " bytes; use smaller shapes");
      capacity_ = count;
    }
    return data_;
  }

 private:
  T* data_ = nullptr;
  std::int64_t capacity_ = 0;
};

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
  T* packed_a = nullptr;     // nullptr: A is read in place
  std::int64_t lda = 0;      // of converted rows
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

  static constexpr bool kConverts = !std::is_same_v<T, In>;
  bool packs_a() const { return p.transpose_a || kConverts; }

  // Packing tasks: groups of panels times blocks of k. A group is wide enough that the rows of a transposed A or a
  // plain B are read in pieces of a few cache lines, and at most the 8 lines that one set of L1 holds are written at
  // a time (panels often lie a multiple of 4 KiB apart).
  void pack(bool parallel, Buffer<T>& a_buffer, Buffer<T>& b_buffer) {
    constexpr std::int64_t kAGroup = (kMr == 8 ? 4 : 8) * kMr;  // 8 panels of 8: 2 to 4 % slower on small products
    constexpr std::int64_t kBGroup = 4 * kNr;
    const std::int64_t blocks = ceil_div(p.k, kBlockK);
    std::int64_t b_tasks = 0, a_tasks = 0;
    if (row_tiles() > 1) {
      packed_b = b_buffer.get(round_up(p.n, kNr) * p.k);
      b_tasks = blocks * ceil_div(p.n, kBGroup);
    }
    if (packs_a()) {
      lda = p.transpose_a ? 1 : round_up(p.k, 16);
      packed_a = a_buffer.get(round_up(p.m, kMr) * (p.transpose_a ? p.k : lda));
      a_tasks = blocks * ceil_div(p.m, kAGroup);
    }
    // Each task packs its share of both. A in the order of the tiles, so that a thread's range of it is (parallel_for)
    // that of its own tiles; B, which all tiles read, in the order of k: in a weight's gradient these are the tokens,
    // and the rows of a thread's own tokens are in its caches.
    const std::int64_t tasks = std::max(a_tasks, b_tasks);
    const std::int64_t b_groups = ceil_div(p.n, kBGroup);
    run_tasks(parallel, tasks, [&](std::int64_t task) {
      for (std::int64_t i = b_tasks * task / tasks; i < b_tasks * (task + 1) / tasks; ++i) {
        const std::int64_t k0 = i / b_groups * kBlockK;
        const std::int64_t first = i % b_groups * kBGroup;
        const std::int64_t kc = std::min(kBlockK, p.k - k0);
        pack_b(first, std::min(kBGroup, p.n - first), k0, kc, packed_b + first * p.k + k0 * kNr, kNr * p.k);
      }
      for (std::int64_t i = a_tasks * task / tasks; i < a_tasks * (task + 1) / tasks; ++i) {
        const std::int64_t k0 = i % blocks * kBlockK;
        const std::int64_t first = i / blocks * kAGroup;
        pack_a(first, std::min(kAGroup, p.m - first), k0, std::min(kBlockK, p.k - k0));
      }
    });
  }

  // Rows [first, first + count) and columns [k0, k0 + kc) of op(A).
  void pack_a(std::int64_t first, std::int64_t count, std::int64_t k0, std::int64_t kc) const {
    if (p.transpose_a) {
      pack_rows<kTileRows>(p.a + k0 * p.lda + first, p.lda, kc, count, packed_a + first * p.k + k0 * kMr, kMr * p.k);
    } else {
      convert_rows(p.a + first * p.lda + k0, p.lda, count, kc, packed_a + first * lda + k0, lda);
    }
  }

  // Columns [first, first + count) and rows [k0, k0 + kc) of op(B), in panels panel_size apart.
  void pack_b(std::int64_t first, std::int64_t count, std::int64_t k0, std::int64_t kc, T* to,
              std::int64_t panel_size) const {
    if (!p.transpose_b) return pack_rows<kTileColumns<T>>(p.b + k0 * p.ldb + first, p.ldb, kc, count, to, panel_size);
    for (std::int64_t j = 0; j < count; j += kNr) {
      pack_columns<kTileColumns<T>>(p.b + (first + j) * p.ldb + k0, p.ldb, kc, count - j, to + j / kNr * panel_size);
    }
  }

  // All rows of the tile, one panel of columns, one block of k. BStep: see micro_kernel.
  template <int BStep>
  void panel(std::int64_t i0, std::int64_t count, const T* b, std::int64_t k0, std::int64_t kc, T* c, std::int64_t ldc,
             const Finish<T>& finish) const {
    // While this panel of B is in use, the next one comes from L3 to L2, a piece per micro-tile.
    constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(T));
    const std::int64_t piece = round_up(ceil_div(kc * kNr, ceil_div(count, kMr)), kLine);
    const T* next = b + kNr * p.k;
    for (std::int64_t i = 0; i < count; i += kMr) {
      const std::int64_t some = std::min(kMr, count - i);
      if (BStep != 0 && packed_b != nullptr) {
        for (std::int64_t x = 0; x < piece; x += kLine) __builtin_prefetch(next + x, 0, 2);
        next += piece;
      }
      if (p.transpose_a) {
        const T* a = packed_a + (i0 + i) * p.k + k0 * kMr;
        micro_tile<T, kTileRows, BStep>(some, kc, a, 1, b, p.ldb, c + i * ldc, ldc, finish);
        continue;
      }
      const T* a = packed_a + (i0 + i) * lda + k0;
      std::int64_t a_row = lda;
      if constexpr (!kConverts) {
        a = p.a + (i0 + i) * p.lda + k0;
        a_row = p.lda;
      }
      micro_tile<T, 1, BStep>(some, kc, a, a_row, b, p.ldb, c + i * ldc, ldc, finish);
    }
  }

  // The same for the only row of a product, with B read in place.
  void row_panel(std::int64_t j, std::int64_t k0, std::int64_t kc, T* c, const Finish<T>& finish) const {
    const In* b = p.b + j * p.ldb + k0;
    if constexpr (kConverts) {
      row_kernel(kc, packed_a + k0 * (p.transpose_a ? kMr : 1), p.transpose_a ? kMr : 1, b, p.ldb, c, finish);
    } else if (p.transpose_a) {
      row_kernel(kc, packed_a + k0 * kMr, kMr, b, p.ldb, c, finish);
    } else {
      row_kernel(kc, p.a + k0, 1, b, p.ldb, c, finish);
    }
  }

  void tile(std::int64_t index) const {
    const std::int64_t i0 = index / column_tiles() * rows;
    const std::int64_t j0 = index % column_tiles() * columns;
    const std::int64_t m = std::min(rows, p.m - i0);
    const std::int64_t n = std::min(columns, p.n - j0);
    alignas(64) T b_block[kBlockK * kNr];
    alignas(64) T bias[kNr] = {};
    alignas(64) T edge[kMaxRows * kNr];                         // a panel of C that is not whole
    alignas(64) T total[kRounds ? kMaxRows * kMaxColumns : 1];  // the tile of C before rounding
    for (std::int64_t k0 = 0; k0 < p.k; k0 += kBlockK) {
      const std::int64_t kc = std::min(kBlockK, p.k - k0);
      Finish<T> finish{p.alpha, nullptr, k0 > 0 || (p.accumulate && !kRounds)};
      for (std::int64_t j = 0; j < n; j += kNr) {
        const std::int64_t width = std::min(kNr, n - j);
        const T* b = b_block;
        bool in_place = false, row_alone = false;
        if (packed_b != nullptr) {
          b = packed_b + (j0 + j) * p.k + k0 * kNr;
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
            row_panel(j0 + j, k0, kc, kRounds ? total + j : reinterpret_cast<T*>(p.c) + j0 + j, finish);
            continue;
          }
        }
        if constexpr (kRounds) {
          panel<kTileColumns<T>>(i0, m, b, k0, kc, total + j, columns, finish);
        } else {
          T* const c = p.c + i0 * p.ldc + j0 + j;
          if (width == kNr) {
            if constexpr (!kConverts) {
              if (in_place) {
                panel<0>(i0, m, p.b + k0 * p.ldb + j0 + j, k0, kc, c, p.ldc, finish);
                continue;
              }
            }
            panel<kTileColumns<T>>(i0, m, b, k0, kc, c, p.ldc, finish);
            continue;
          }
          if (finish.add) copy_panel(c, p.ldc, edge, kNr, m, width);
          panel<kTileColumns<T>>(i0, m, b, k0, kc, edge, kNr, finish);
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
  using T = acc_t<In>;
  static thread_local Buffer<T> a_buffer, b_buffer;
  Job<In, Out> job;
  job.p = product;
  job.plan(parallel);
  job.pack(parallel, a_buffer, b_buffer);
  run_tasks(parallel, job.row_tiles() * job.column_tiles(), [&job](std::int64_t index) { job.tile(index); });
}

}  // namespace

// A batch of small products, or of many, is cut between products; else each product is cut by itself.
template <class In, class Out>
void matmul_packed(const Product<In, Out>& p, bool parallel) {
  const std::int64_t work = p.m * p.n * p.k;
  if (p.batch * work < kSerialWork) parallel = false;
  const bool between = parallel && p.batch > 1 && (p.batch >= kTasks || work < 16 * kSerialWork);
  run_tasks(between, p.batch, [&](std::int64_t b) { one_product(batch_item(p, b), parallel && !between); });
}

#define MIXGRAD_MATMUL(In, Out) template void matmul_packed<In, Out>(const Product<In, Out>&, bool);
MIXGRAD_INSTANTIATE_MATMUL(MIXGRAD_MATMUL)
#undef MIXGRAD_MATMUL

}  // namespace mixgrad::cpu
