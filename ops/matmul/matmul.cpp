// The choice of the implementation, and the cases without any work.
#include "ops/matmul/matmul.h"

#include <atomic>
#include <type_traits>

#include "core/context.h"
#include "core/error.h"
#include "ops/matmul/matmul_implementations.h"

namespace mixgrad::cpu {
namespace {

std::atomic<MatmulKernel> g_kernel{MatmulKernel::automatic};

// k = 0: C = bias or 0, or C += bias, or C stays.
template <class In, class Out>
void without_terms(const Product<In, Out>& p) {
  using T = acc_t<In>;
  if (p.accumulate && p.bias == nullptr) return;
  for (std::int64_t b = 0; b < p.batch; ++b) {
    for (std::int64_t i = 0; i < p.m; ++i) {
      Out* row = p.c + b * p.stride_c + i * p.ldc;
      for (std::int64_t j = 0; j < p.n; ++j) {
        const T bias = p.bias != nullptr ? static_cast<T>(p.bias[b * p.stride_bias + j]) : T(0);
        row[j] = static_cast<Out>(p.accumulate ? static_cast<T>(row[j]) + bias : bias);
      }
    }
  }
}

// bf16 operands, and f32 ones that may be rounded to bf16, where the processor has a unit for tiles of them.
template <class In>
bool on_tiles(MatmulKernel kernel) {
  if (kernel != MatmulKernel::automatic) return kernel == MatmulKernel::tiles;
  return has_amx() && (std::is_same_v<In, bf16> || context().matmul_precision == MatmulPrecision::medium);
}

template <class In, class Out>
void dispatch(const Product<In, Out>& p, bool parallel) {
  MIXGRAD_ASSERT(p.m >= 0 && p.n >= 0 && p.k >= 0 && p.batch >= 0, "matmul: sizes must not be negative");
  if (p.m == 0 || p.n == 0 || p.batch == 0) return;
  MIXGRAD_ASSERT(p.ldc >= p.n, "matmul: rows of C overlap");
  if (p.k == 0) return without_terms(p);
  MIXGRAD_ASSERT(p.lda >= (p.transpose_a ? p.m : p.k), "matmul: rows of A overlap");
  MIXGRAD_ASSERT(p.ldb >= (p.transpose_b ? p.k : p.n), "matmul: rows of B overlap");
  // parallel_for sets this in its threads only when there are several; without it here, one thread would give
  // other bits than two.
  flush_denormals();
  const MatmulKernel kernel = matmul_kernel();
  if constexpr (!std::is_same_v<In, double>) {
    if (on_tiles<In>(kernel)) return matmul_tiles(p, parallel, false);
  }
  switch (kernel) {
    case MatmulKernel::automatic:
    case MatmulKernel::tiles:
    case MatmulKernel::packed: return matmul_packed(p, parallel);
    case MatmulKernel::eigen: return matmul_eigen(p, parallel);
    case MatmulKernel::naive: return matmul_naive(p, parallel);
  }
}

}  // namespace

void set_matmul_kernel(MatmulKernel kernel) { g_kernel.store(kernel, std::memory_order_relaxed); }
MatmulKernel matmul_kernel() { return g_kernel.load(std::memory_order_relaxed); }

template <class In, class Out>
void matmul(const Product<In, Out>& product) {
  dispatch(product, true);
}

template <class In, class Out>
void matmul_serial(const Product<In, Out>& product) {
  dispatch(product, false);
}

#define MIXGRAD_MATMUL(In, Out)                           \
  template void matmul<In, Out>(const Product<In, Out>&); \
  template void matmul_serial<In, Out>(const Product<In, Out>&);
MIXGRAD_INSTANTIATE_MATMUL(MIXGRAD_MATMUL)
#undef MIXGRAD_MATMUL

}  // namespace mixgrad::cpu
