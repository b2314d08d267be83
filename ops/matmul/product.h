// The arguments of a matrix product, for both devices:
//
//   C[m,n] = alpha * op(A)[m,k] op(B)[k,n]  (+ bias[n])  (+ C)          row-major, leading dimensions in elements
//
// One product, or `batch` products whose operands lie stride_* elements apart (a stride of 0 shares an operand).
// Types: <double, double>, <float, float>, <bf16, bf16>, <bf16, float>. Sums are kept in acc_t<In> over the whole k;
// a bf16 result is rounded once, at the end.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace mixgrad {

template <class In, class Out>
struct Product {
  std::int64_t m = 0, n = 0, k = 0;
  const In* a = nullptr;  // [m, k], or [k, m] when transpose_a; lda is the distance between stored rows
  std::int64_t lda = 0;
  bool transpose_a = false;
  const In* b = nullptr;  // [k, n], or [n, k] when transpose_b; ldb is the distance between stored rows
  std::int64_t ldb = 0;
  bool transpose_b = false;
  Out* c = nullptr;  // [m, n]
  std::int64_t ldc = 0;
  acc_t<In> alpha = 1;
  bool accumulate = false;   // false: C is written and never read (it may hold NaN); true: C += ...
  const In* bias = nullptr;  // [n] or absent
  std::int64_t batch = 1, stride_a = 0, stride_b = 0, stride_c = 0, stride_bias = 0;
};

}  // namespace mixgrad
