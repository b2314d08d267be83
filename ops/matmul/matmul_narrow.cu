#include "ops/matmul/matmul_narrow.h"

#include <algorithm>

#include "core/cuda/launch.cuh"
#include "core/cuda/partial_sums.cuh"
#include "core/cuda/tensor_core.cuh"
#include "core/tensor.h"
#include "ops/matmul/product_blocks.h"

namespace mixgrad::cuda {
namespace {

using tensor_core::load_transposed_matrices;
using tensor_core::lower;
using tensor_core::multiply_add;
using tensor_core::packed;
using tensor_core::upper;

constexpr std::int64_t kMostBatch = 65535;  // of a grid's second axis
constexpr int kMmaRows = 16;                // of mma.m16n8k16; its k is the same
constexpr int kMmaColumns = 8;

bool even(std::int64_t number) { return number % 2 == 0; }
bool by_pairs(const void* address) { return reinterpret_cast<std::uintptr_t>(address) % 4 == 0; }

bool has_tensor_cores(Device device) {
  int major = 0;
  MIXGRAD_CUDA_CALL("matmul", cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device.index));
  return major >= 8;
}

// Two neighbouring elements, 0 where there are none.
__device__ unsigned pair_at(const bf16* from, bool there) {
  return there ? *reinterpret_cast<const unsigned*>(from) : 0;
}
__device__ int lane_id() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ int warp_id() { return static_cast<int>(threadIdx.x) / kWarp; }

// ---- rows

constexpr int kRowWarps = 8;
constexpr int kRowThreads = kRowWarps * kWarp;
constexpr int kBlockRows = static_cast<int>(kNarrowRows);
static_assert(kBlockRows == kRowWarps * kMmaRows);

// The fragments of op(B) as the lanes of a warp read them: [k / 16][n / 8][lane], 8 bytes each; zeros beyond n and k.
template <int kTiles, int kSteps>
__device__ void load_fragments(uint2* to, const Product<bf16, bf16>& p, const bf16* b) {
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < kSteps * kTiles * kWarp; i += kRowThreads) {
    const int lane = i % kWarp;
    const int n = i / kWarp % kTiles * kMmaColumns + lane / 4;
    const int k = i / kWarp / kTiles * kMmaRows + lane % 4 * 2;
    const auto pair = [&](int row) -> unsigned {
      if (n >= p.n || row >= p.k) return 0;
      if (p.transpose_b) return *reinterpret_cast<const unsigned*>(b + n * p.ldb + row);
      return static_cast<unsigned>(b[row * p.ldb + n].bits) |
             (static_cast<unsigned>(b[(row + 1) * p.ldb + n].bits) << 16U);
    };
    to[i] = make_uint2(pair(k), pair(k + kMmaColumns));
  }
}

// A warp has 16 rows against all columns; kSteps of 16 along k. Its rows are on their way while the block puts B in
// order.
template <int kTiles, int kSteps>
__global__ void __launch_bounds__(kRowThreads) rows_kernel(const Product<bf16, bf16> p) {
  uint2* fragments = shared<uint2>();
  wait_for_previous();
  const std::int64_t batch = blockIdx.y;
  const int lane = lane_id();
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kBlockRows + warp_id() * kMmaRows + lane / 4;
  const bf16* above = p.a + batch * p.stride_a + row * p.lda;
  const bf16* below = above + kMmaColumns * p.lda;
  unsigned own[kSteps][4];
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int k = step * kMmaRows + half * kMmaColumns + lane % 4 * 2;
      own[step][2 * half] = pair_at(above + k, row < p.m && k < p.k);
      own[step][2 * half + 1] = pair_at(below + k, row + kMmaColumns < p.m && k < p.k);
    }
  }
  load_fragments<kTiles, kSteps>(fragments, p, p.b + batch * p.stride_b);
  __syncthreads();
  float sums[kTiles][4] = {};
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      const uint2 b = fragments[(step * kTiles + t) * kWarp + lane];
      multiply_add(sums[t], own[step], b.x, b.y);
    }
  }
  bf16* c = p.c + batch * p.stride_c + row * p.ldc;
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    const int n = t * kMmaColumns + lane % 4 * 2;
    if (n >= p.n) break;
    const bf16* bias = p.bias == nullptr ? nullptr : p.bias + batch * p.stride_bias + n;
    const float left = bias == nullptr ? 0.0F : float(bias[0]);
    const float right = bias == nullptr ? 0.0F : float(bias[1]);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (row + half * kMmaColumns >= p.m) continue;
      auto* to = reinterpret_cast<unsigned*>(c + half * kMmaColumns * p.ldc + n);
      float x = p.alpha * sums[t][2 * half] + left;
      float y = p.alpha * sums[t][2 * half + 1] + right;
      if (p.accumulate) {
        const unsigned old = *to;
        x += lower(old);
        y += upper(old);
      }
      *to = packed(x, y);
    }
  }
}

template <int kTiles, int kSteps>
void launch_rows(const Product<bf16, bf16>& p, Device device) {
  const dim3 grid(static_cast<unsigned>((p.m + kBlockRows - 1) / kBlockRows), static_cast<unsigned>(p.batch));
  launch("matmul", device, grid, kRowThreads, sizeof(uint2) * kSteps * kTiles * kWarp, rows_kernel<kTiles, kSteps>, p);
}

template <int kTiles>
void launch_rows(const Product<bf16, bf16>& p, Device device) {
  if (p.k <= kMmaRows) return launch_rows<kTiles, 1>(p, device);
  if (p.k <= 4 * kMmaRows) return launch_rows<kTiles, 4>(p, device);
  launch_rows<kTiles, 8>(p, device);
}

// ---- columns

constexpr int kColumnWarps = 4;
constexpr int kColumnThreads = kColumnWarps * kWarp;
constexpr int kSide = 64;                           // of a block's tile of C, and rows of A and B in shared memory
constexpr int kPitch = kSide + 8;                   // of a row there: 8 rows of ldmatrix meet all 32 banks
constexpr int kWarpRows = kSide / kColumnWarps;     // that a warp loads
constexpr int kWarpColumns = kSide / kColumnWarps;  // of C, with all its rows
constexpr std::int64_t kWantedBlocks = 768;
constexpr std::int64_t kFewestRows = 256;  // of a block

// The warp's 16 of 64 rows of 64 columns, a row a load; zeros where there are none.
__device__ void load_rows(unsigned (&pairs)[kWarpRows], const bf16* from, std::int64_t stride, std::int64_t rows,
                          std::int64_t columns) {
  const int column = lane_id() * 2;
#pragma unroll
  for (int i = 0; i < kWarpRows; ++i) {
    const std::int64_t r = warp_id() * kWarpRows + i;
    pairs[i] = pair_at(from + r * stride + column, r < rows && column < columns);
  }
}
__device__ void put_rows(bf16 (*to)[kPitch], const unsigned (&pairs)[kWarpRows]) {
#pragma unroll
  for (int i = 0; i < kWarpRows; ++i) {
    *reinterpret_cast<unsigned*>(&to[warp_id() * kWarpRows + i][lane_id() * 2]) = pairs[i];
  }
}

// sums += A^T B over 64 rows, the warp's 16 columns
__device__ void add_rows(float (&sums)[kSide / kMmaRows][2][4], const bf16 (*a)[kPitch], const bf16 (*b)[kPitch],
                         std::int64_t m) {
  const int lane = lane_id();
#pragma unroll
  for (int k = 0; k < kSide; k += kMmaRows) {
    unsigned right[4];
    load_transposed_matrices(right, &b[k + lane / 8 % 2 * 8 + lane % 8][warp_id() * kWarpColumns + lane / 16 * 8]);
#pragma unroll
    for (int t = 0; t < kSide / kMmaRows; ++t) {
      if (t * kMmaRows >= m) break;
      unsigned left[4];
      load_transposed_matrices(left, &a[k + lane / 16 * 8 + lane % 8][t * kMmaRows + lane / 8 % 2 * 8]);
      multiply_add(sums[t][0], left, right[0], right[1]);
      multiply_add(sums[t][1], left, right[2], right[3]);
    }
  }
}

// partial[piece, batch, m, n]: the sums over `each` rows, for the tile blockIdx.z of C. 64 rows are on their way while
// those before are multiplied.
__global__ void __launch_bounds__(kColumnThreads)
    columns_kernel(const Product<bf16, float> p, std::int64_t each, float* partial) {
  __shared__ alignas(16) bf16 rows_a[kSide][kPitch];
  __shared__ alignas(16) bf16 rows_b[kSide][kPitch];
  wait_for_previous();
  const std::int64_t across = (p.n + kSide - 1) / kSide;
  const std::int64_t first_m = blockIdx.z / across * kSide;
  const std::int64_t first_n = blockIdx.z % across * kSide;
  const std::int64_t batch = blockIdx.y;
  const bf16* a = p.a + batch * p.stride_a + first_m;
  const bf16* b = p.b + batch * p.stride_b + first_n;
  const std::int64_t m = p.m - first_m;  // of the tile, or more
  const std::int64_t n = p.n - first_n;
  const std::int64_t begin = blockIdx.x * each;
  const std::int64_t end = begin + each < p.k ? begin + each : p.k;
  float sums[kSide / kMmaRows][2][4] = {};
  unsigned next_a[kWarpRows];
  unsigned next_b[kWarpRows];
  load_rows(next_a, a + begin * p.lda, p.lda, end - begin, m);
  load_rows(next_b, b + begin * p.ldb, p.ldb, end - begin, n);
  for (std::int64_t r = begin; r < end; r += kSide) {
    put_rows(rows_a, next_a);
    put_rows(rows_b, next_b);
    __syncthreads();
    if (r + kSide < end) {
      load_rows(next_a, a + (r + kSide) * p.lda, p.lda, end - r - kSide, m);
      load_rows(next_b, b + (r + kSide) * p.ldb, p.ldb, end - r - kSide, n);
    }
    if (warp_id() * kWarpColumns < n) add_rows(sums, rows_a, rows_b, m);
    __syncthreads();
  }
  float* to = partial + (static_cast<std::int64_t>(blockIdx.x) * p.batch + batch) * p.m * p.n + first_m * p.n + first_n;
#pragma unroll
  for (int t = 0; t < kSide / kMmaRows; ++t) {
#pragma unroll
    for (int u = 0; u < 2; ++u) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = t * kMmaRows + half * 8 + lane_id() / 4;
        const int column = warp_id() * kWarpColumns + u * kMmaColumns + lane_id() % 4 * 2;
        if (row >= m || column >= n) continue;
        *reinterpret_cast<float2*>(to + row * p.n + column) =
            make_float2(sums[t][u][2 * half], sums[t][u][2 * half + 1]);
      }
    }
  }
}

struct StoreColumns {
  Product<bf16, float> p;
  __device__ void operator()(std::int64_t i, float sum) const {
    float& to = p.c[i / p.n / p.m * p.stride_c + i / p.n % p.m * p.ldc + i % p.n];
    to = p.accumulate ? to + p.alpha * sum : p.alpha * sum;
  }
};

}  // namespace

bool narrow_takes(const Product<bf16, bf16>& p, Device device) {
  return (p.batch > 1 || p.n < kMmaRows || p.k < kMmaRows) && p.batch <= kMostBatch && !p.transpose_a &&
         p.m >= kFewestNarrowRows && p.n <= kMostNarrow && p.k <= kMostNarrow && even(p.n) && even(p.k) &&
         even(p.lda) && even(p.ldc) && even(p.stride_a) && even(p.stride_c) && by_pairs(p.a) && by_pairs(p.c) &&
         (!p.transpose_b || (even(p.ldb) && even(p.stride_b) && by_pairs(p.b))) && has_tensor_cores(device);
}

bool narrow_takes(const Product<bf16, float>& p, Device device) {
  return p.batch > 1 && p.batch <= kMostBatch && p.transpose_a && !p.transpose_b && p.bias == nullptr &&
         p.k >= kFewestNarrowRows && p.m <= kMostNarrow && p.n <= kMostNarrow && even(p.m) && even(p.n) &&
         even(p.lda) && even(p.ldb) && even(p.stride_a) && even(p.stride_b) && by_pairs(p.a) && by_pairs(p.b) &&
         has_tensor_cores(device);
}

void narrow(const Product<bf16, bf16>& p, Device device) {
  if (p.n <= 32) return launch_rows<4>(p, device);
  if (p.n <= 64) return launch_rows<8>(p, device);
  launch_rows<16>(p, device);
}

void narrow(const Product<bf16, float>& p, Device device) {
  const std::int64_t tiles = (p.m + kSide - 1) / kSide * ((p.n + kSide - 1) / kSide);
  const std::int64_t wanted = (p.k * p.batch * tiles + kWantedBlocks - 1) / kWantedBlocks;
  const std::int64_t each = std::max(kFewestRows, (wanted + kSide - 1) / kSide * kSide);
  const std::int64_t pieces = (p.k + each - 1) / each;
  const Tensor partial = Tensor::empty({pieces, p.batch, p.m, p.n}, DType::f32, device);
  const dim3 grid(static_cast<unsigned>(pieces), static_cast<unsigned>(p.batch), static_cast<unsigned>(tiles));
  launch("matmul", device, grid, kColumnThreads, 0, columns_kernel, p, each, partial.data<float>());
  join_partial_sums("matmul", device, partial.data<float>(), pieces, p.batch * p.m * p.n, StoreColumns{p});
}

}  // namespace mixgrad::cuda
