// The CPU matrix product, on which every other operator stands:
//
//   C[m,n] = alpha * op(A)[m,k] op(B)[k,n]  (+ bias[n])  (+ C)          row-major, leading dimensions in elements
//
// Laws of the packed kernel (the default), on which callers may rely:
//   1. The bits of an element of C depend on its row of op(A), its column of op(B), alpha, bias and, when accumulating,
//      on its old value. They do not depend on m, n, the element's position, the batch, the transposes, the thread
//      count, nor on whether matmul or matmul_serial was called.
//   2. From the second call with the same shapes nothing is allocated.
//   3. Any of m, n, k, batch may be 0; with k = 0 the product term is 0.
//   4. Without `accumulate`, C is never read. C must not overlap A, B or bias.
//   5. NaN and infinity spread exactly as in the plain loops.
// Denormals are flushed to zero in every thread that takes part, the caller's included (core/parallel.h).
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace mixgrad::cpu {

// One product, or `batch` products whose operands lie stride_* elements apart (a stride of 0 shares an operand).
// Types: <double, double>, <float, float>, <bf16, bf16>, <bf16, float>. Sums are kept in acc_t<In> over the whole k;
// a bf16 result is rounded once, at the end.
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

// Parallel over threads(); to be called from outside a parallel region.
template <class In, class Out>
void matmul(const Product<In, Out>& product);

// The same bits, in the calling thread; for use inside the tasks of a parallel_for.
template <class In, class Out>
void matmul_serial(const Product<In, Out>& product);

// The ladder. Every rung takes every Product; only `packed` keeps laws 1 and 2.
//   naive   plain loops, the reference
//   eigen   Eigen's product, one thread each on fixed row tiles
//   packed  own blocked kernel, the default
enum class MatmulKernel { packed, eigen, naive };
void set_matmul_kernel(MatmulKernel kernel);
MatmulKernel matmul_kernel();

}  // namespace mixgrad::cpu
