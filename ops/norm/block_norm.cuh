// The norm of a few rows by all threads of a block, for the kernels of decoding steps that begin with one: each block
// norms the rows for itself. Thread t has unit t of each row; a sum is that of the lanes of a warp in a fixed tree,
// then of the warps in order. norm_rows.cuh, with a warp for each row, needs 168 registers a thread for that.
#pragma once

#include "ops/norm/inverse_deviation.h"
#include "ops/norm/norm_rows.cuh"
#include "ops/norm/row_norm.h"

namespace mixgrad::cuda {

inline constexpr int kMostNormed = 1024;  // channels: a unit of four for each of 256 threads

// u = norm(x + y) of `rows` rows; the sum is written where `sum` is not null. X: type of x and the sum; T: of y and u.
template <class X, class T>
struct NormArguments {
  using A = acc_t<T>;
  static constexpr int kSize = kUnit<X, T>;

  const Unit<X, kSize>* x;
  const Unit<T, kSize>* y;  // or null
  Unit<X, kSize>* sum;      // null without y
  const Unit<A, kSize>* weight;
  const Unit<A, kSize>* bias;  // or null
  bool centred;
  int rows, units;  // of a row
  A width, eps;

  NormArguments(const Tensor& x_in, const Tensor& y_in, const RowNorm& norm, const Tensor& sum_out)
      : x(units_of<X, kSize>(x_in)),
        y(units_of<T, kSize>(y_in)),
        sum(units_of<X, kSize>(sum_out)),
        weight(units_of<A, kSize>(norm.weight)),
        bias(units_of<A, kSize>(norm.bias)),
        centred(norm.centred),
        rows(static_cast<int>(x_in.rows())),
        units(static_cast<int>(x_in.cols()) / kSize),
        width(A(x_in.cols())),
        eps(A(norm.eps)) {}
  __device__ void skip_rows(std::int64_t count) {
    x += count * units;
    if (y != nullptr) y += count * units;
    if (sum != nullptr) sum += count * units;
  }
};

// Do such kernels take this norm? dtype: of u.
inline bool block_norm_takes(const Tensor& x, const Tensor& y, const RowNorm& norm, DType dtype) {
  if (x.dtype() != DType::f32 || (dtype != DType::f32 && dtype != DType::bf16)) return false;
  if (x.cols() > kMostNormed || x.cols() % (16 / static_cast<std::int64_t>(dtype_bytes(dtype))) != 0) return false;
  if (y.defined() && y.dtype() != dtype) return false;
  for (const Tensor* parameter : {&norm.weight, &norm.bias}) {
    if (parameter->defined() && parameter->dtype() != DType::f32) return false;
  }
  return are_chunks({&x, &y, &norm.weight, &norm.bias});
}

template <class X, class T, int kRows, int kBlockThreads>
struct BlockNorm {
  using A = acc_t<T>;
  static constexpr int kSize = kUnit<X, T>;
  static constexpr int kWarps = kBlockThreads / kWarp;
  static_assert(kBlockThreads * kSize >= kMostNormed);

  Unit<A, kSize> factor = {};
  Unit<A, kSize> offset = {};

  __device__ void load_parameters(const NormArguments<X, T>& p) {
    const auto c = static_cast<int>(threadIdx.x);
    if (c >= p.units) return;
    factor = p.weight[c];
    if (p.bias != nullptr) offset = p.bias[c];
  }

  // put(r, c, unit): unit c of row r of u, for this thread's unit. Called by all threads, once a block.
  template <class Put>
  __device__ void compute(const NormArguments<X, T>& p, bool write_sum, const Put& put) const {
    __shared__ A of_warps[2][kWarps][kRows];
    const auto c = static_cast<int>(threadIdx.x);
    const bool mine = c < p.units;
    Unit<X, kSize> row[kRows] = {};
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (mine && r < p.rows) row[r] = p.x[r * p.units + c];
    }
    if (p.y != nullptr) {
      Unit<T, kSize> more[kRows] = {};
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (mine && r < p.rows) more[r] = p.y[r * p.units + c];
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int e = 0; e < kSize; ++e) {
          row[r].values[e] = static_cast<X>(A(row[r].values[e]) + A(more[r].values[e]));
        }
        if (write_sum && mine && r < p.rows) p.sum[r * p.units + c] = row[r];
      }
    }
    A mean[kRows] = {};
    if (p.centred) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int e = 0; e < kSize; ++e) mean[r] += A(row[r].values[e]);
      }
      sum_of_block(mean, of_warps[0]);
#pragma unroll
      for (int r = 0; r < kRows; ++r) mean[r] /= p.width;
    }
    A squares[kRows] = {};
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int e = 0; e < kSize; ++e) {
        const A centred = A(row[r].values[e]) - mean[r];
        squares[r] += mine ? centred * centred : A(0);
      }
    }
    sum_of_block(squares, of_warps[1]);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (!mine || r >= p.rows) continue;
      const A inverse = inverse_deviation(squares[r] / p.width + p.eps);
      Unit<T, kSize> normed;
#pragma unroll
      for (int e = 0; e < kSize; ++e) {
        const A value = (A(row[r].values[e]) - mean[r]) * inverse * factor.values[e];
        normed.values[e] = static_cast<T>(p.bias == nullptr ? value : value + offset.values[e]);
      }
      put(r, c, normed);
    }
  }

 private:
  __device__ static void sum_of_block(A (&values)[kRows], A (&of_warps)[kWarps][kRows]) {
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      values[r] = warp_sum(values[r]);
      if (threadIdx.x % kWarp == 0) of_warps[warp][r] = values[r];
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      values[r] = of_warps[0][r];
#pragma unroll
      for (int w = 1; w < kWarps; ++w) values[r] += of_warps[w][r];
    }
  }
};

}  // namespace mixgrad::cuda
