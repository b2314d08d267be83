#include "ops/matmul/matvec_cuda.h"

#include "core/cuda/hardware_float.cuh"
#include "core/cuda/launch.cuh"
#include "ops/elementwise/functions.h"

namespace mixgrad::cuda {
namespace {

constexpr int kVecThreads = 256;
constexpr int kVecWarps = kVecThreads / kWarp;
constexpr int kAhead = 4;  // chunks of a row of B that a lane has in flight

template <class T>
Chunk<T>* chunks_at(const T* data) {
  return reinterpret_cast<Chunk<T>*>(const_cast<T*>(data));
}

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
};

template <class In, class Out, int kRows, int kColumns, int kSlices>
__global__ void __launch_bounds__(kVecThreads) kernel(Vectors<In, Out> p) {
  using A = acc_t<In>;
  constexpr int kSize = Chunk<In>::kSize;
  constexpr int kGroups = kVecWarps / kSlices;  // of kColumns columns, in a block
  const auto thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarp;
  const int slice = thread / kWarp % kSlices;
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * kGroups + thread / kWarp / kSlices) * kColumns;
  const Chunk<In>* rows[kColumns];
#pragma unroll
  for (int j = 0; j < kColumns; ++j) rows[j] = p.b + (first + j < p.n ? first + j : p.n - 1) * p.stride_b;
  // The weights travel into the L2 cache while the kernel before this one still runs.
  constexpr int kLineChunks = kLineBytes / static_cast<int>(sizeof(Chunk<In>));
#pragma unroll
  for (int j = 0; j < kColumns; ++j) {
    for (std::int64_t c = (slice * kWarp + lane) * kLineChunks; c < p.chunks; c += kSlices * kWarp * kLineChunks) {
      fetch_ahead(rows[j] + c);
    }
  }
  if (p.bias != nullptr && lane == 0 && first < p.n) fetch_ahead(p.bias + first);
  wait_for_previous();
  A bias[kColumns] = {};
#pragma unroll
  for (int j = 0; j < kColumns; ++j) {
    if (p.bias != nullptr && first + j < p.n) bias[j] = A(p.bias[first + j]);
  }
  A sums[kRows][kColumns] = {};
  for (std::int64_t c0 = slice * kWarp + lane; c0 < p.chunks; c0 += kAhead * kSlices * kWarp) {
    Chunk<In> weights[kAhead][kColumns];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const std::int64_t c = c0 + i * kSlices * kWarp;
#pragma unroll
      for (int j = 0; j < kColumns; ++j) weights[i][j] = c < p.chunks ? rows[j][c] : Chunk<In>{};
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      Chunk<In> x[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const std::int64_t c = c0 + i * kSlices * kWarp;
        x[i] = r < p.m && c < p.chunks ? p.a[r * p.stride_a + c] : Chunk<In>{};
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
#pragma unroll
          for (int e = 0; e < kSize; ++e) sums[r][j] += A(x[i].values[e]) * A(weights[i][j].values[e]);
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
#pragma unroll
      for (int distance = kWarp / 2; distance > 0; distance /= 2) {
        sums[r][j] += __shfl_xor_sync(0xffffffffU, sums[r][j], distance);
      }
    }
  }
  if constexpr (kSlices > 1) {
    __shared__ A of_slices[kVecWarps][kRows][kColumns];
    if (lane == 0) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int j = 0; j < kColumns; ++j) of_slices[thread / kWarp][r][j] = sums[r][j];
      }
    }
    __syncthreads();
    if (slice != 0) return;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        for (int s = 1; s < kSlices; ++s) sums[r][j] += of_slices[thread / kWarp + s][r][j];
      }
    }
  }
  if (lane != 0) return;
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
  constexpr int kOfBlock = kVecWarps / kSlices * kColumns;
  const dim3 grid(static_cast<unsigned>((p.n + kOfBlock - 1) / kOfBlock));
  launch("matmul", device, grid, kVecThreads, 0, kernel<In, Out, kRows, kColumns, kSlices>, p);
}

// Wide results: neighbouring columns share what is read of A. Few columns of long sums: several warps for each.
template <class In, class Out, int kRows>
void cut(const Vectors<In, Out>& p, Device device) {
  constexpr std::int64_t kWide = 16384;  // columns
  constexpr std::int64_t kFew = 4096;
  if (p.n >= kWide) return run<In, Out, kRows, 4, 1>(p, device);
  if (p.n < kFew / 2 && p.chunks >= 8 * kWarp) return run<In, Out, kRows, 1, 4>(p, device);
  if (p.n < kFew && p.chunks >= 4 * kWarp) return run<In, Out, kRows, 1, 2>(p, device);
  run<In, Out, kRows, 1, 1>(p, device);
}

}  // namespace

template <class In, class Out>
bool matvec_takes(const Product<In, Out>& p) {
  if constexpr (std::is_same_v<In, double>) {
    return false;
  } else {
    constexpr std::int64_t kSize = Chunk<In>::kSize;
    const auto aligned = [](const In* data) { return reinterpret_cast<std::uintptr_t>(data) % 16 == 0; };
    return p.m <= kMostVectors && p.batch == 1 && !p.transpose_a && p.transpose_b && p.k > 0 && p.k % kSize == 0 &&
           p.lda % kSize == 0 && p.ldb % kSize == 0 && aligned(p.a) && aligned(p.b);
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
                               .result = result};
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
