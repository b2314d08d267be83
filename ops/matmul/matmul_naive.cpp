// The plain implementation: the formula as it stands, the reference for the others.
//
//   C[i,j] = alpha * sum_p A[i,p] B[p,j]  (+ bias[j])  (+ C[i,j])
#include "ops/matmul/matmul_implementations.h"

namespace mixgrad::cpu {

template <class In, class Out>
void matmul_naive(const Product<In, Out>& p, bool parallel) {
  using T = acc_t<In>;
  run_tasks(parallel, p.batch * p.m, [&p](std::int64_t task) {
    const Product<In, Out> item = batch_item(p, task / p.m);
    const std::int64_t i = task % p.m;
    // A[i,p] = a[p * a_step], B[p,j] = b[p * b_step + j * b_column]
    const In* a = item.a + (p.transpose_a ? i : i * p.lda);
    const std::int64_t a_step = p.transpose_a ? p.lda : 1;
    const std::int64_t b_step = p.transpose_b ? 1 : p.ldb;
    const std::int64_t b_column = p.transpose_b ? p.ldb : 1;
    Out* c = item.c + i * p.ldc;
    for (std::int64_t j = 0; j < p.n; ++j) {
      const In* b = item.b + j * b_column;
      T sum = 0;
      for (std::int64_t q = 0; q < p.k; ++q) sum += static_cast<T>(a[q * a_step]) * static_cast<T>(b[q * b_step]);
      T value = p.alpha * sum;
      if (item.bias != nullptr) value += static_cast<T>(item.bias[j]);
      if (p.accumulate) value += static_cast<T>(c[j]);
      c[j] = static_cast<Out>(value);
    }
  });
}

#define MIXGRAD_MATMUL(In, Out) template void matmul_naive<In, Out>(const Product<In, Out>&, bool);
MIXGRAD_INSTANTIATE_MATMUL(MIXGRAD_MATMUL)
#undef MIXGRAD_MATMUL

}  // namespace mixgrad::cpu
