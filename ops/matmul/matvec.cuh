// Device code of products of few rows (matvec_cuda.h), for kernels that stand on it. Each element of B is read once,
// 16 bytes at a time:
//
//   a warp, or kSlices of them, computes kColumns columns of C: lane l adds up the chunks l, l + 32 kSlices, ... in the
//   accumulation type; then the lanes are joined in a fixed tree and the slices in order
#pragma once

#include "core/cuda/launch.cuh"
#include "core/cuda/raw_chunk.cuh"

namespace mixgrad::cuda::vec {

inline constexpr int kVecThreads = 256;
inline constexpr int kVecWarps = kVecThreads / kWarp;
inline constexpr int kAhead = 4;  // chunks of a row of B that a lane has in flight

// Warps of a block, kSlices together; their columns start at (block kGroups + group()) kColumns.
template <int kSlices>
struct Warps {
  static constexpr int kGroups = kVecWarps / kSlices;  // in a block
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
  __device__ static int slice() { return static_cast<int>(threadIdx.x) / kWarp % kSlices; }
  __device__ static int group() { return static_cast<int>(threadIdx.x) / kWarp / kSlices; }
};

// What a lane reads of kColumns rows of B, of `chunks` chunks each.
template <class In, int kColumns, int kSlices>
struct Weights {
  using A = acc_t<In>;
  static constexpr int kStride = kSlices * kWarp;

  const Chunk<In>* rows[kColumns];
  int chunks;
  Raw ahead[kAhead][kColumns];

  __device__ static int first() { return Warps<kSlices>::slice() * kWarp + Warps<kSlices>::lane(); }

  // Into the L2 cache.
  __device__ void fetch() const {
    constexpr int kLineChunks = kLineBytes / static_cast<int>(sizeof(Chunk<In>));
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      for (int c = first() * kLineChunks; c < chunks; c += kStride * kLineChunks) fetch_ahead(rows[j] + c);
    }
  }
  // Into registers, from chunk c0 on.
  __device__ void load(int c0) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int c = c0 + i * kStride;
#pragma unroll
      for (int j = 0; j < kColumns; ++j) ahead[i][j] = c < chunks ? raw(rows[j] + c) : Raw{};
    }
  }
  // sums[r][j] += row r of A times row j, where x(r, c) points to chunk c of row r < m of A. load(first()) was called.
  template <int kRows, class X>
  __device__ void multiply(A (&sums)[kRows][kColumns], int m, const X& x) {
    for (int c0 = first(); c0 < chunks; c0 += kAhead * kStride) {
      if (c0 != first()) load(c0);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        Raw left[kAhead];
#pragma unroll
        for (int i = 0; i < kAhead; ++i) {
          const int c = c0 + i * kStride;
          left[i] = r < m && c < chunks ? raw(x(r, c)) : Raw{};
        }
#pragma unroll
        for (int i = 0; i < kAhead; ++i) {
#pragma unroll
          for (int j = 0; j < kColumns; ++j) {
#pragma unroll
            for (int e = 0; e < Chunk<In>::kSize; ++e) {
              sums[r][j] += element<In>(left[i], e) * element<In>(ahead[i][j], e);
            }
          }
        }
      }
    }
  }
};

// Joins the sums of the lanes, then of the slices. True for the one thread of a group that has the result.
template <int kSlices, class A, int kRows, int kColumns>
__device__ bool join(A (&sums)[kRows][kColumns]) {
  const int lane = Warps<kSlices>::lane();
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
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    if (lane == 0) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int j = 0; j < kColumns; ++j) of_slices[warp][r][j] = sums[r][j];
      }
    }
    __syncthreads();
    if (Warps<kSlices>::slice() != 0) return false;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        for (int s = 1; s < kSlices; ++s) sums[r][j] += of_slices[warp + s][r][j];
      }
    }
  }
  return lane == 0;
}

// Slices for n columns of sums of `chunks` chunks: few columns of long sums take several warps for each.
inline int slices_for(std::int64_t n, std::int64_t chunks) {
  constexpr std::int64_t kFew = 4096;  // columns
  if (n < kFew / 2 && chunks >= 8 * kWarp) return 4;
  if (n < kFew && chunks >= 4 * kWarp) return 2;
  return 1;
}
// Wide results: neighbouring columns share what is read of A.
inline bool is_wide(std::int64_t n) { return n >= 16384; }

template <class T>
Chunk<T>* chunks_at(const T* data) {
  return reinterpret_cast<Chunk<T>*>(const_cast<T*>(data));
}

}  // namespace mixgrad::cuda::vec
