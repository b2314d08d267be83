#include <algorithm>
#include <cmath>
#include <mutex>
#include <vector>

#include "ops/rope/rope_kernels.h"
#include "ops/support/row_tasks.h"

namespace mixgrad::cpu {
namespace {

// cos and sin of the angles of the positions from `first` on, [positions, head_dim/2] each, in f64 or f32.
struct Table {
  double theta;
  std::int64_t head_dim;
  std::int64_t first;
  Tensor cosine;
  Tensor sine;

  std::int64_t end() const { return first + cosine.dim(0); }
};

// A table that begins at 0 is kept for each (theta, head_dim, dtype) and doubled when a longer sequence comes: a steady
// state computes and allocates nothing. Beyond kWholeTable positions it does not grow: a second table of kMovingTable
// positions, or as many as a call has, moves along, so that tokens without end take no more memory.
constexpr std::int64_t kWholeTable = 65536;
constexpr std::int64_t kMovingTable = 4096;

void fill(Table& table, std::int64_t first, std::int64_t rows, DType dtype) {
  const std::int64_t pairs = table.head_dim / 2;
  table.first = first;
  table.cosine = Tensor::empty({rows, pairs}, dtype);
  table.sine = Tensor::empty({rows, pairs}, dtype);
  for (std::int64_t t = 0; t < rows; ++t) {
    for (std::int64_t i = 0; i < pairs; ++i) {
      const double angle = static_cast<double>(first + t) *
                           std::pow(table.theta, -2.0 * static_cast<double>(i) / static_cast<double>(table.head_dim));
      table.cosine.set(t * pairs + i, std::cos(angle));
      table.sine.set(t * pairs + i, std::sin(angle));
    }
  }
}

// One that has the positions from begin to before end.
Table table_for(const RopeOptions& options, std::int64_t begin, std::int64_t end, DType dtype) {
  static std::mutex mutex;
  static auto* tables = new std::vector<Table>;
  const std::scoped_lock lock(mutex);
  const bool moves = end > kWholeTable;
  Table* found = nullptr;
  for (Table& table : *tables) {
    const bool same = table.theta == options.theta && table.head_dim == options.head_dim &&
                      table.cosine.dtype() == dtype && (table.end() > kWholeTable) == moves;
    if (same) found = &table;
  }
  if (found != nullptr && found->first <= begin && end <= found->end()) return *found;
  if (found == nullptr) {
    tables->push_back({options.theta, options.head_dim, 0, Tensor(), Tensor()});
    found = &tables->back();
  }
  if (moves) {
    const std::int64_t first = begin / kMovingTable * kMovingTable;
    fill(*found, first, std::max(kMovingTable, (end - first + kMovingTable - 1) / kMovingTable * kMovingTable), dtype);
  } else {
    std::int64_t rows = 64;
    while (rows < end) rows *= 2;
    fill(*found, 0, rows, dtype);
  }
  return *found;
}

}  // namespace

void rope_rotate(const Tensor& x, const RopeOptions& options, bool inverse, const GradTarget& y) {
  dispatch_float(x.dtype(), "rope", [&]<class T>() {
    using A = acc_t<T>;
    const std::int64_t steps = x.dim(1);
    const std::int64_t pairs = options.head_dim / 2;
    const std::int64_t rotated = options.heads * options.head_dim;
    const std::int64_t repeat = options.rows_per_position;
    const std::int64_t position = options.first_position.host;
    const Table table = table_for(options, position, position + steps / repeat, dtype_of<A>());
    const A* cosines = table.cosine.data<A>();
    const A* sines = table.sine.data<A>();
    const A sign = inverse ? A(-1) : A(1);
    const Rows<T> in(x);
    const Rows<T> out(y.tensor);
    const bool add = y.add;
    parallel_rows(in.count, rows_per_task(in.width), [&](std::int64_t begin, std::int64_t end, std::int64_t) {
      for (std::int64_t r = begin; r < end; ++r) {
        const std::int64_t row = position - table.first + r % steps / repeat;
        const A* c = cosines + row * pairs;
        const A* s = sines + row * pairs;
        for (std::int64_t h = 0; h < options.heads; ++h) {
          const T* low = in[r] + h * options.head_dim;
          const T* high = low + pairs;
          T* to_low = out[r] + h * options.head_dim;
          T* to_high = to_low + pairs;
#pragma omp simd
          for (std::int64_t i = 0; i < pairs; ++i) {
            const A a = A(low[i]);
            const A b = A(high[i]);
            const A sine = sign * s[i];
            const A first = a * c[i] - b * sine;
            const A second = b * c[i] + a * sine;
            put(to_low[i], add, first);
            put(to_high[i], add, second);
          }
        }
        for (std::int64_t c2 = rotated; c2 < in.width; ++c2) put(out[r][c2], add, A(in[r][c2]));
      }
    });
  });
}

}  // namespace mixgrad::cpu
