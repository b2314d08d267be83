// LayerNorm and RMSNorm of rows that a warp holds in registers: each element is read once, 16 bytes at a time. The
// implementation above the block-per-row kernels of layer_norm.cu and rms_norm.cu, which take every other shape.
//   kCentered: LayerNorm, the mean is taken off; false: RMSNorm
//   X: type of x, the sum and d; T: of what is added, the norm and dnormed
#pragma once

#include "autograd/tape.h"
#include "core/cuda/launch.cuh"
#include "ops/norm/norm_blocks.h"

namespace mixgrad::cuda {

inline constexpr int kLaneChunks = kNormLaneChunks;
inline constexpr int kRowWarps = kRowThreads / kWarp;

// Do these rows (and parameters) fit?
template <class T>
bool fit_warps(std::int64_t width, std::initializer_list<const Tensor*> tensors) {
  return width % Chunk<T>::kSize == 0 && width / Chunk<T>::kSize <= kWarp * kLaneChunks && are_chunks(tensors);
}

template <class A>
__device__ A warp_sum(A value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(0xffffffffU, value, distance);
  }
  return value;
}

// As many elements of E as a chunk of T has: of a wider type it takes several loads of 16 bytes.
template <class E, class T>
struct alignas(16) Beside {
  E values[Chunk<T>::kSize];
};
template <class E, class T>
Beside<E, T>* beside(const Tensor& tensor) {
  return tensor.defined() ? reinterpret_cast<Beside<E, T>*>(tensor.data<E>()) : nullptr;
}

// f(k, c) for the chunks c of a row of `chunks` that this lane holds as its k-th.
template <class F>
__device__ void for_lane_chunks(int chunks, const F& f) {
#pragma unroll
  for (int k = 0; k < kLaneChunks; ++k) {
    const int c = static_cast<int>(threadIdx.x) % kWarp + k * kWarp;
    if (c < chunks) f(k, c);
  }
}

// N elements side by side, read and written at once.
template <class E, int N>
struct alignas(sizeof(E) * N < 16 ? sizeof(E) * N : 16) Unit {
  E values[N];
};
// So many that 16 bytes hold them in the widest of both types: the lanes of a warp then touch whole lines.
template <class X, class T>
inline constexpr int kUnit = Chunk<X>::kSize < Chunk<T>::kSize ? Chunk<X>::kSize : Chunk<T>::kSize;

// f(k, c) for the units c of a row of `units` that this lane holds as its k-th.
template <int kUnits, class F>
__device__ void for_lane_units(int units, const F& f) {
#pragma unroll
  for (int k = 0; k < kUnits; ++k) {
    const int c = static_cast<int>(threadIdx.x) % kWarp + k * kWarp;
    if (c < units) f(k, c);
  }
}

template <class X, class T>
struct NormRows {
  using A = acc_t<T>;
  static constexpr int kSize = kUnit<X, T>;
  const Unit<X, kSize>* x;
  const Unit<T, kSize>* y;  // null: nothing is added
  const Unit<A, kSize>* weight;
  const Unit<A, kSize>* bias;  // or null
  Unit<X, kSize>* sum;         // null without y
  Unit<T, kSize>* normed;
  A* means;  // null unless the mean is taken off
  A* inverses;
  std::int64_t rows;
  int units;  // of a row
  A width, eps;
};

// A warp for each row. All loads of a row are issued before the first result is used or stored: where there are few
// rows, as in a decoding step, nothing else hides their latency.
template <bool kCentered, class X, class T>
__global__ void __launch_bounds__(kRowThreads) norm_rows_kernel(NormRows<X, T> p) {
  using A = acc_t<T>;
  constexpr int kSize = kUnit<X, T>;
  constexpr int kUnits = kLaneChunks * Chunk<T>::kSize / kSize;
  if (p.rows <= kNormFewRows) {
    for_lane_units<kUnits>(p.units, [&](int, int c) {
      fetch_ahead(p.weight + c);
      if (p.bias != nullptr) fetch_ahead(p.bias + c);
    });
  }
  wait_for_previous();
  const std::int64_t r = static_cast<std::int64_t>(blockIdx.x) * kRowWarps + threadIdx.x / kWarp;
  if (r >= p.rows) return;
  const std::int64_t begin = r * p.units;
  Unit<X, kSize> row[kUnits];
  for_lane_units<kUnits>(p.units, [&](int k, int c) { row[k] = p.x[begin + c]; });
  if (p.y != nullptr) {
    Unit<T, kSize> more[kUnits];
    for_lane_units<kUnits>(p.units, [&](int k, int c) { more[k] = p.y[begin + c]; });
    for_lane_units<kUnits>(p.units, [&](int k, int c) {
#pragma unroll
      for (int e = 0; e < kSize; ++e) {
        row[k].values[e] = static_cast<X>(A(row[k].values[e]) + A(more[k].values[e]));
      }
      p.sum[begin + c] = row[k];
    });
  }
  A s = 0;
  for_lane_units<kUnits>(p.units, [&](int k, int) {
#pragma unroll
    for (int e = 0; e < kSize; ++e) s += A(row[k].values[e]);
  });
  const A mu = kCentered ? warp_sum(s) / p.width : A(0);
  A squares = 0;
  for_lane_units<kUnits>(p.units, [&](int k, int) {
#pragma unroll
    for (int e = 0; e < kSize; ++e) squares += (A(row[k].values[e]) - mu) * (A(row[k].values[e]) - mu);
  });
  const A scale = A(1) / std::sqrt(warp_sum(squares) / p.width + p.eps);
  if (threadIdx.x % kWarp == 0) {
    if (kCentered) p.means[r] = mu;
    p.inverses[r] = scale;
  }
  Unit<T, kSize> results[kUnits];
  for_lane_units<kUnits>(p.units, [&](int k, int c) {
    const Unit<A, kSize> factor = p.weight[c];
    const Unit<A, kSize> offset = p.bias == nullptr ? Unit<A, kSize>{} : p.bias[c];
#pragma unroll
    for (int e = 0; e < kSize; ++e) {
      const A value = (A(row[k].values[e]) - mu) * scale * factor.values[e];
      results[k].values[e] = static_cast<T>(p.bias == nullptr ? value : value + offset.values[e]);
    }
  });
  for_lane_units<kUnits>(p.units, [&](int k, int c) { p.normed[begin + c] = results[k]; });
}

template <class E, int N>
Unit<E, N>* units_of(const Tensor& tensor) {
  return tensor.defined() ? reinterpret_cast<Unit<E, N>*>(tensor.data<E>()) : nullptr;
}

// normed = (s - mean) / deviation weight (+ bias) of s = x (+ y, which is also written to sum). `mean` is written when
// kCentered.
template <bool kCentered, class X, class T>
void norm_rows(const char* op, const Tensor& x, const Tensor& y, const Tensor& weight, const Tensor& bias, double eps,
               const Tensor& sum, const Tensor& normed, const Tensor& mean, const Tensor& inverse) {
  using A = acc_t<T>;
  const std::int64_t rows = x.rows();
  if (rows == 0) return;
  constexpr int kSize = kUnit<X, T>;
  const NormRows<X, T> p{.x = units_of<X, kSize>(x),
                         .y = units_of<T, kSize>(y),
                         .weight = units_of<A, kSize>(weight),
                         .bias = units_of<A, kSize>(bias),
                         .sum = units_of<X, kSize>(sum),
                         .normed = units_of<T, kSize>(normed),
                         .means = kCentered ? mean.data<A>() : nullptr,
                         .inverses = inverse.data<A>(),
                         .rows = rows,
                         .units = static_cast<int>(x.cols()) / kSize,
                         .width = A(x.cols()),
                         .eps = A(eps)};
  launch(op, x.device(), static_cast<unsigned>((rows + kRowWarps - 1) / kRowWarps), kRowThreads, 0,
         norm_rows_kernel<kCentered, X, T>, p);
}

// d (+)= dsum + the gradient at s of the norm, for dnormed; the same for dy where that is wanted.
template <bool kCentered, class X, class T>
void norm_rows_gradient(const char* op, const Tensor& s, const Tensor& weight, const Tensor& mean,
                        const Tensor& inverse, const Tensor& dnormed, const Tensor& dsum, const GradTarget& d,
                        const GradTarget& dy) {
  using A = acc_t<T>;
  using C = Beside<T, T>;
  using Wide = Beside<X, T>;
  using Parameters = Beside<A, T>;
  constexpr int kSize = Chunk<T>::kSize;
  const Wide* in = beside<X, T>(s);
  const Parameters* w = beside<A, T>(weight);
  const C* up = beside<T, T>(dnormed);
  const Wide* residual = beside<X, T>(dsum);
  Wide* out = beside<X, T>(d.tensor);
  C* other = beside<T, T>(dy.tensor);
  const A* means = kCentered ? mean.data<A>() : nullptr;
  const A* inverses = inverse.data<A>();
  const bool add = d.add;
  const bool add_other = dy.tensor.defined() && dy.add;
  const std::int64_t rows = s.rows();
  const A width = A(s.cols());
  const int chunks = static_cast<int>(s.cols()) / kSize;
  for_each_row(op, s.device(), (rows + kRowWarps - 1) / kRowWarps, [=] __device__(std::int64_t block) {
    const std::int64_t r = block * kRowWarps + threadIdx.x / kWarp;
    if (r >= rows) return;
    const std::int64_t begin = r * chunks;
    const A mu = kCentered ? means[r] : A(0);
    const A scale = inverses[r];
    A slopes[kLaneChunks][kSize];   // dnormed weight
    A centred[kLaneChunks][kSize];  // s - mean
    A sum_g = 0;
    A sum_gx = 0;
    for_lane_chunks(chunks, [&](int k, int c) {
      const Wide value = in[begin + c];
      const C slope = up[begin + c];
      const Parameters factor = w[c];
#pragma unroll
      for (int e = 0; e < kSize; ++e) {
        slopes[k][e] = A(slope.values[e]) * factor.values[e];
        centred[k][e] = A(value.values[e]) - mu;
        sum_g += slopes[k][e];
        sum_gx += slopes[k][e] * centred[k][e];
      }
    });
    const A mean_g = kCentered ? warp_sum(sum_g) / width : A(0);
    const A along = warp_sum(sum_gx) * scale * scale / width;
    for_lane_chunks(chunks, [&](int k, int c) {
      const Wide more = residual == nullptr ? Wide{} : residual[begin + c];
      Wide result = add ? out[begin + c] : Wide{};
      C second = add_other ? other[begin + c] : C{};
#pragma unroll
      for (int e = 0; e < kSize; ++e) {
        A value = scale * (slopes[k][e] - mean_g - centred[k][e] * along);
        if (residual != nullptr) value += A(more.values[e]);
        result.values[e] = static_cast<X>(add ? A(result.values[e]) + value : value);
        second.values[e] = static_cast<T>(add_other ? A(second.values[e]) + value : value);
      }
      out[begin + c] = result;
      if (other != nullptr) other[begin + c] = second;
    });
  });
}

}  // namespace mixgrad::cuda
