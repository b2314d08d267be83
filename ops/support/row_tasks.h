// Work over the rows of tensors on the CPU: fixed blocks of them, column sums in a fixed order.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/parallel.h"
#include "core/rows.h"
#include "ops/support/target.h"

namespace mixgrad::cpu {

// Rows per task, by shape only, so that a task touches about 16 Ki elements.
inline std::int64_t rows_per_task(std::int64_t width) {
  return std::clamp<std::int64_t>(16384 / std::max<std::int64_t>(width, 1), 1, 1024);
}

// task(begin, end) over fixed blocks of rows.
template <class Task>
void parallel_rows(std::int64_t rows, std::int64_t block, const Task& task) {
  parallel_for((rows + block - 1) / block,
               [&](std::int64_t i) { task(i * block, std::min(rows, (i + 1) * block), i); });
}

// Column sums in two steps with a fixed order: `partial(begin, end, sums)` adds rows [begin,end) into zeroed
// sums[width]; the blocks' sums are then added in index order and given to `store(column, total)`.
template <class A, class Partial, class Store>
void ordered_column_sums(std::int64_t rows, std::int64_t width, std::int64_t block, const Partial& partial,
                         const Store& store) {
  const std::int64_t blocks = std::max<std::int64_t>((rows + block - 1) / block, 1);
  const Tensor scratch = Tensor::empty({blocks, width}, dtype_of<A>());
  A* sums = scratch.data<A>();
  if (rows == 0) std::fill_n(sums, width, A(0));
  parallel_rows(rows, block, [&](std::int64_t begin, std::int64_t end, std::int64_t i) {
    std::fill_n(sums + i * width, width, A(0));
    partial(begin, end, sums + i * width);
  });
  for (std::int64_t i = 1; i < blocks; ++i) {
    for (std::int64_t c = 0; c < width; ++c) sums[c] += sums[i * width + c];
  }
  for (std::int64_t c = 0; c < width; ++c) store(c, sums[c]);
}

// to[column] (+)= the column sums of x: the gradient of a bias.
template <class T>
void add_column_sums(const Rows<T>& x, bool add, acc_t<T>* to) {
  using A = acc_t<T>;
  ordered_column_sums<A>(
      x.count, x.width, rows_per_task(x.width),
      [&](std::int64_t begin, std::int64_t end, A* sums) {
        for (std::int64_t r = begin; r < end; ++r) {
          const T* row = x[r];
          for (std::int64_t c = 0; c < x.width; ++c) sums[c] += A(row[c]);
        }
      },
      [&](std::int64_t c, A total) { put(to[c], add, total); });
}

}  // namespace mixgrad::cpu
