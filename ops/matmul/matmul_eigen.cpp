// The Eigen implementation: C is cut into fixed row tiles, and each is one single-threaded product of Eigen. What a
// whole library reaches, as a measure for the packed implementation. bf16 goes through float copies, allocated on each
// call.
#define EIGEN_DONT_PARALLELIZE
// A program may link an Eigen of its own that is compiled for other instructions, so no name may be shared with it.
#define Eigen mixgrad_eigen
#include <Eigen/Core>
#include <algorithm>
#include <type_traits>

#include "ops/matmul/matmul_implementations.h"

namespace mixgrad::cpu {
namespace {

constexpr std::int64_t kRowTile = 96;

template <class T>
using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using Reader = Eigen::Map<const Matrix<T>, Eigen::Unaligned, Eigen::OuterStride<>>;
template <class T>
using Writer = Eigen::Map<Matrix<T>, Eigen::Unaligned, Eigen::OuterStride<>>;

// A stored [rows, columns] operand as a matrix of T: in place, or for bf16 as a float copy held by `copy`.
template <class T, class In>
Reader<T> reader(const In* data, std::int64_t rows, std::int64_t columns, std::int64_t ld, Matrix<T>& copy) {
  if constexpr (std::is_same_v<T, In>) {
    return Reader<T>(data, rows, columns, Eigen::OuterStride<>(ld));
  } else {
    copy.resize(rows, columns);
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < columns; ++j) copy(i, j) = static_cast<T>(data[i * ld + j]);
    }
    return Reader<T>(copy.data(), rows, columns, Eigen::OuterStride<>(columns));
  }
}

// target += alpha * a b. One call into Eigen for each transposition: each takes seconds to compile.
template <class T>
void add_product(Reader<T> a, bool transpose_a, Reader<T> b, bool transpose_b, T alpha, Writer<T> target) {
  if (transpose_a && transpose_b) {
    target.noalias() += alpha * (a.transpose() * b.transpose());
  } else if (transpose_a) {
    target.noalias() += alpha * (a.transpose() * b);
  } else if (transpose_b) {
    target.noalias() += alpha * (a * b.transpose());
  } else {
    target.noalias() += alpha * (a * b);
  }
}

template <class In, class Out>
void row_tile(const Product<In, Out>& p, std::int64_t first, std::int64_t rows) {
  using T = acc_t<In>;
  Matrix<T> a_copy, b_copy;
  const auto a = p.transpose_a ? reader<T>(p.a + first, p.k, rows, p.lda, a_copy)
                               : reader<T>(p.a + first * p.lda, rows, p.k, p.lda, a_copy);
  const auto b = p.transpose_b ? reader<T>(p.b, p.n, p.k, p.ldb, b_copy) : reader<T>(p.b, p.k, p.n, p.ldb, b_copy);
  const auto product_into = [&](Writer<T> c, bool accumulate) {
    if (!accumulate) c.setZero();
    add_product<T>(a, p.transpose_a, b, p.transpose_b, p.alpha, c);
    if (p.bias != nullptr) {
      for (std::int64_t j = 0; j < p.n; ++j) c.col(j).array() += static_cast<T>(p.bias[j]);
    }
  };
  if constexpr (std::is_same_v<T, Out>) {
    product_into(Writer<T>(p.c + first * p.ldc, rows, p.n, Eigen::OuterStride<>(p.ldc)), p.accumulate);
  } else {
    Matrix<T> c(rows, p.n);
    product_into(Writer<T>(c.data(), rows, p.n, Eigen::OuterStride<>(p.n)), false);
    for (std::int64_t i = 0; i < rows; ++i) {
      Out* out = p.c + (first + i) * p.ldc;
      for (std::int64_t j = 0; j < p.n; ++j) {
        out[j] = static_cast<Out>(p.accumulate ? c(i, j) + static_cast<T>(out[j]) : c(i, j));
      }
    }
  }
}

}  // namespace

template <class In, class Out>
void matmul_eigen(const Product<In, Out>& p, bool parallel) {
  const std::int64_t tiles = (p.m + kRowTile - 1) / kRowTile;
  run_tasks(parallel, p.batch * tiles, [&p, tiles](std::int64_t task) {
    const std::int64_t first = task % tiles * kRowTile;
    row_tile(batch_item(p, task / tiles), first, std::min(kRowTile, p.m - first));
  });
}

#define MIXGRAD_MATMUL(In, Out) template void matmul_eigen<In, Out>(const Product<In, Out>&, bool);
MIXGRAD_INSTANTIATE_MATMUL(MIXGRAD_MATMUL)
#undef MIXGRAD_MATMUL

}  // namespace mixgrad::cpu
