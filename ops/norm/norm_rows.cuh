// LayerNorm and RMSNorm of rows that a warp holds in registers: each element is read once, 16 bytes at a time. The
// implementation above the block-per-row kernels of layer_norm.cu and rms_norm.cu, which take every other shape.
//   kCentered: LayerNorm, the mean is taken off; false: RMSNorm
//   X: type of x, the sum and d; T: of what is added, the norm and dnormed
#pragma once

#include "autograd/tape.h"
#include "core/cuda/launch.cuh"
#include "core/cuda/partial_sums.cuh"
#include "ops/norm/inverse_deviation.h"
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
  const A scale = inverse_deviation(warp_sum(squares) / p.width + p.eps);
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

template <class X, class T>
struct NormRowsGradient {
  using A = acc_t<T>;
  static constexpr int kSize = kUnit<X, T>;
  const Unit<X, kSize>* s;
  const Unit<T, kSize>* dnormed;
  const Unit<X, kSize>* dsum;  // or null
  const Unit<A, kSize>* weight;
  const A* means;  // null unless the mean is taken off
  const A* inverses;
  Unit<X, kSize>* d;   // null where only the parameters' gradients are wanted
  Unit<T, kSize>* dy;  // or null
  bool add, add_dy;
  A* partial;  // [blocks, 2, width]: sums of the gradients of weight and bias; or null
  std::int64_t rows;
  int warp_rows;  // that a warp goes through
  int units;      // of a row
  A width;
};

// A warp goes through a quarter of the block's rows and adds up what each gives to the gradients of weight and
// bias in registers; the warps of a block are joined in order. So each element is read once. kUnits: of a lane.
template <bool kCentered, int kUnits, class X, class T>
__global__ void __launch_bounds__(kRowThreads) norm_rows_gradient_kernel(NormRowsGradient<X, T> p) {
  using A = acc_t<T>;
  constexpr int kSize = kUnit<X, T>;
  wait_for_previous();
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  A sum_weight[kUnits][kSize] = {};
  A sum_bias[kUnits][kSize] = {};
  for (int i = 0; i < p.warp_rows; ++i) {
    const std::int64_t r = (static_cast<std::int64_t>(blockIdx.x) * kRowWarps + warp) * p.warp_rows + i;
    if (r >= p.rows) break;
    const std::int64_t begin = r * p.units;
    const A mu = kCentered ? p.means[r] : A(0);
    const A scale = p.inverses[r];
    Unit<X, kSize> row[kUnits];
    Unit<X, kSize> more[kUnits];  // loaded before the sums need the row, so that nothing waits for it
    Unit<T, kSize> up[kUnits];
    for_lane_units<kUnits>(p.units, [&](int k, int c) {
      row[k] = p.s[begin + c];
      up[k] = p.dnormed[begin + c];
      more[k] = p.dsum == nullptr ? Unit<X, kSize>{} : p.dsum[begin + c];
    });
    A sum_g = 0;
    A sum_gx = 0;
    for_lane_units<kUnits>(p.units, [&](int k, int c) {
      const Unit<A, kSize> factor = p.weight[c];
#pragma unroll
      for (int e = 0; e < kSize; ++e) {
        const A g = A(up[k].values[e]) * factor.values[e];
        const A centred = A(row[k].values[e]) - mu;
        sum_g += g;
        sum_gx += g * centred;
        sum_weight[k][e] += A(up[k].values[e]) * (centred * scale);
        if constexpr (kCentered) sum_bias[k][e] += A(up[k].values[e]);
      }
    });
    if (p.d == nullptr) continue;
    const A mean_g = kCentered ? warp_sum(sum_g) / p.width : A(0);
    const A along = warp_sum(sum_gx) * scale * scale / p.width;
    for_lane_units<kUnits>(p.units, [&](int k, int c) {
      const Unit<A, kSize> factor = p.weight[c];
      Unit<X, kSize> result = p.add ? p.d[begin + c] : Unit<X, kSize>{};
      Unit<T, kSize> second = p.add_dy ? p.dy[begin + c] : Unit<T, kSize>{};
#pragma unroll
      for (int e = 0; e < kSize; ++e) {
        const A g = A(up[k].values[e]) * factor.values[e];
        A value = scale * (g - mean_g - (A(row[k].values[e]) - mu) * along);
        if (p.dsum != nullptr) value += A(more[k].values[e]);
        result.values[e] = static_cast<X>(p.add ? A(result.values[e]) + value : value);
        second.values[e] = static_cast<T>(p.add_dy ? A(second.values[e]) + value : value);
      }
      p.d[begin + c] = result;
      if (p.dy != nullptr) p.dy[begin + c] = second;
    });
  }
  if (p.partial == nullptr) return;
  A* sums = shared<A>();  // [warps, 2, width]
  const int width = p.units * kSize;
  for_lane_units<kUnits>(p.units, [&](int k, int c) {
#pragma unroll
    for (int e = 0; e < kSize; ++e) {
      sums[warp * 2 * width + c * kSize + e] = sum_weight[k][e];
      sums[(warp * 2 + 1) * width + c * kSize + e] = sum_bias[k][e];
    }
  });
  __syncthreads();
  for (int c = static_cast<int>(threadIdx.x); c < 2 * width; c += kRowThreads) {
    A sum = sums[c];
#pragma unroll
    for (int w = 1; w < kRowWarps; ++w) sum += sums[w * 2 * width + c];
    p.partial[static_cast<std::int64_t>(blockIdx.x) * 2 * width + c] = sum;
  }
}

// d (+)= dsum + the gradient at s of the norm, for dnormed; the same for dy where that is wanted; and the gradients of
// weight and bias where they are wanted. All in one pass, or, where there are no rows, nothing.
template <bool kCentered, class X, class T>
void norm_rows_gradient(const char* op, const Tensor& s, const Tensor& weight, const Tensor& mean,
                        const Tensor& inverse, const Tensor& dnormed, const Tensor& dsum, const GradTarget& d,
                        const GradTarget& dy, const GradTarget& dweight, const GradTarget& dbias) {
  using A = acc_t<T>;
  constexpr int kSize = kUnit<X, T>;
  const std::int64_t rows = s.rows();
  const std::int64_t width = s.cols();
  const int block_rows = norm_sum_rows(rows);
  const std::int64_t blocks = (rows + block_rows - 1) / block_rows;
  const bool sums = dweight.tensor.defined() || dbias.tensor.defined();
  const Tensor partial = sums ? Tensor::empty({blocks, 2 * width}, dtype_of<A>(), s.device()) : Tensor();
  const NormRowsGradient<X, T> p{.s = units_of<X, kSize>(s),
                                 .dnormed = units_of<T, kSize>(dnormed),
                                 .dsum = units_of<X, kSize>(dsum),
                                 .weight = units_of<A, kSize>(weight),
                                 .means = kCentered ? mean.data<A>() : nullptr,
                                 .inverses = inverse.data<A>(),
                                 .d = units_of<X, kSize>(d.tensor),
                                 .dy = units_of<T, kSize>(dy.tensor),
                                 .add = d.tensor.defined() && d.add,
                                 .add_dy = dy.tensor.defined() && dy.add,
                                 .partial = sums ? partial.data<A>() : nullptr,
                                 .rows = rows,
                                 .warp_rows = block_rows / kRowWarps,
                                 .units = static_cast<int>(width) / kSize,
                                 .width = A(width)};
  const auto run = [&]<int kUnits>() {
    const auto bytes = sums ? static_cast<std::size_t>(2 * kRowWarps * width) * sizeof(A) : 0;
    launch(op, s.device(), static_cast<unsigned>(blocks), kRowThreads, bytes,
           norm_rows_gradient_kernel<kCentered, kUnits, X, T>, p);
  };
  constexpr int kMostUnits = kLaneChunks * Chunk<T>::kSize / kSize;
  if (blocks > 0) {
    const int lane_units = (p.units + kWarp - 1) / kWarp;
    if (lane_units <= kMostUnits / 4) {
      run.template operator()<kMostUnits / 4>();
    } else if (lane_units <= kMostUnits / 2) {
      run.template operator()<kMostUnits / 2>();
    } else if (lane_units <= kMostUnits * 3 / 4) {
      run.template operator()<kMostUnits * 3 / 4>();
    } else {
      run.template operator()<kMostUnits>();
    }
  }
  if (!sums) return;
  A* to_weight = dweight.tensor.defined() ? dweight.tensor.data<A>() : nullptr;
  A* to_bias = dbias.tensor.defined() ? dbias.tensor.data<A>() : nullptr;
  const StoreGradient<A> weights{to_weight, dweight.add};
  const StoreGradient<A> biases{to_bias, dbias.add};
  join_partial_sums(op, s.device(), partial.data<A>(), blocks, 2 * width, [=] __device__(std::int64_t c, A sum) {
    if (c < width) {
      if (weights.to != nullptr) weights(c, sum);
    } else if (biases.to != nullptr) {
      biases(c - width, sum);
    }
  });
}

}  // namespace mixgrad::cuda
