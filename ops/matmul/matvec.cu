#include "ops/matmul/matvec_cuda.h"

#include "core/context.h"
#include "core/cuda/hardware_float.cuh"
#include "ops/elementwise/functions.h"
#include "ops/matmul/matvec.cuh"

namespace mixgrad::cuda {
namespace {

using namespace vec;

// What a kernel of this file reads: strides in chunks.
template <class In, class Out>
struct Vectors {
  const Chunk<In>* a;
  const Chunk<In>* b;
  const In* bias;
  Out* c;
  std::int64_t m, n, chunks, stride_a, stride_b, stride_c;
  acc_t<In> alpha;
  bool accumulate;
  MatvecResult result;
  bool at_rest;
};

template <class In, class Out, int kRows, int kColumns, int kSlices>
__global__ void __launch_bounds__(kVecThreads) kernel(Vectors<In, Out> p) {
  using A = acc_t<In>;
  using At = Warps<kSlices>;
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * At::kGroups + At::group()) * kColumns;
  Weights<In, kColumns, kSlices> weights;
  weights.chunks = static_cast<int>(p.chunks);
#pragma unroll
  for (int j = 0; j < kColumns; ++j) weights.rows[j] = p.b + (first + j < p.n ? first + j : p.n - 1) * p.stride_b;
  // The weights travel while the kernel before this one still runs: into registers where it surely does not write them,
  // else into the L2 cache, which stays coherent.
  if (p.at_rest) {
    weights.load(weights.first());
  } else {
    weights.fetch();
  }
  if (p.bias != nullptr && At::lane() == 0 && first < p.n) fetch_ahead(p.bias + first);
  wait_for_previous();
  if (!p.at_rest) weights.load(weights.first());
  A bias[kColumns] = {};
#pragma unroll
  for (int j = 0; j < kColumns; ++j) {
    if (p.bias != nullptr && first + j < p.n) bias[j] = A(p.bias[first + j]);
  }
  A sums[kRows][kColumns] = {};
  weights.multiply(sums, static_cast<int>(p.m), [&](int r, int c) { return p.a + r * p.stride_a + c; });
  if (!join<kSlices>(sums)) return;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      if (first + j >= p.n || r >= p.m) continue;
      A value = p.alpha * sums[r][j] + bias[j];
      Out& place = p.c[r * p.stride_c + first + j];
      if (p.accumulate) value += A(place);
      // As in an operator of its own: of the rounded value.
      if (p.result == MatvecResult::gelu) value = A(functions::Gelu::f(function_t<Out>(static_cast<Out>(value))));
      place = static_cast<Out>(value);
    }
  }
}

template <class In, class Out, int kRows, int kColumns, int kSlices>
void run(const Vectors<In, Out>& p, Device device) {
  constexpr int kOfBlock = Warps<kSlices>::kGroups * kColumns;
  const dim3 grid(static_cast<unsigned>((p.n + kOfBlock - 1) / kOfBlock));
  launch("matmul", device, grid, kVecThreads, 0, kernel<In, Out, kRows, kColumns, kSlices>, p);
}

template <class In, class Out, int kRows>
void cut(const Vectors<In, Out>& p, Device device) {
  if (is_wide(p.n)) return run<In, Out, kRows, 4, 1>(p, device);
  switch (slices_for(p.n, p.chunks)) {
    case 4: return run<In, Out, kRows, 1, 4>(p, device);
    case 2: return run<In, Out, kRows, 1, 2>(p, device);
    default: return run<In, Out, kRows, 1, 1>(p, device);
  }
}

}  // namespace

template <class In, class Out>
bool matvec_takes(const Product<In, Out>& p) {
  if constexpr (std::is_same_v<In, double>) {
    return false;
  } else {
    constexpr std::int64_t kSize = Chunk<In>::kSize;
    const auto aligned = [](const In* data) { return reinterpret_cast<std::uintptr_t>(data) % 16 == 0; };
    return p.m <= kMostVectors && p.batch == 1 && p.k < (std::int64_t{1} << 30) && !p.transpose_a && p.transpose_b &&
           p.k > 0 && p.k % kSize == 0 && p.lda % kSize == 0 && p.ldb % kSize == 0 && aligned(p.a) && aligned(p.b);
  }
}

template <class In, class Out>
void matvec(const Product<In, Out>& p, Device device, MatvecResult result) {
  if constexpr (!std::is_same_v<In, double>) {
    constexpr std::int64_t kSize = Chunk<In>::kSize;
    const Vectors<In, Out> all{.a = chunks_at(p.a),
                               .b = chunks_at(p.b),
                               .bias = p.bias,
                               .c = p.c,
                               .m = p.m,
                               .n = p.n,
                               .chunks = p.k / kSize,
                               .stride_a = p.lda / kSize,
                               .stride_b = p.ldb / kSize,
                               .stride_c = p.ldc,
                               .alpha = p.alpha,
                               .accumulate = p.accumulate,
                               .result = result,
                               .at_rest = context().weights_at_rest};
    if (p.m == 1) return cut<In, Out, 1>(all, device);
    if (p.m == 2) return cut<In, Out, 2>(all, device);
    if (p.m <= 4) return cut<In, Out, 4>(all, device);
    cut<In, Out, 8>(all, device);
  }
}

template bool matvec_takes(const Product<double, double>&);
template bool matvec_takes(const Product<float, float>&);
template bool matvec_takes(const Product<bf16, bf16>&);
template bool matvec_takes(const Product<bf16, float>&);
template void matvec(const Product<double, double>&, Device, MatvecResult);
template void matvec(const Product<float, float>&, Device, MatvecResult);
template void matvec(const Product<bf16, bf16>&, Device, MatvecResult);
template void matvec(const Product<bf16, float>&, Device, MatvecResult);

}  // namespace mixgrad::cuda
