// LayerNorm and RMSNorm of rows that a warp holds in registers: each element is read once, 16 bytes at a time. The rung
// above the block-per-row kernels of layer_norm.cu and rms_norm.cu, which take every other shape.
//   kCentered: LayerNorm, the mean is taken off; false: RMSNorm
#pragma once

#include "core/cuda_launch.cuh"

namespace mixgrad::cuda {

inline constexpr int kLaneChunks = 4;  // of a row, in the registers of a lane
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

// The parameters that belong to a chunk of T, in the accumulation type.
template <class T>
struct alignas(16) ChunkParameters {
  acc_t<T> values[Chunk<T>::kSize];
};
template <class T>
const ChunkParameters<T>* parameters_of(const Tensor& tensor) {
  return tensor.defined() ? reinterpret_cast<const ChunkParameters<T>*>(tensor.data<acc_t<T>>()) : nullptr;
}

template <class T>
Chunk<T>* chunks_of(const Tensor& tensor) {
  return tensor.defined() ? reinterpret_cast<Chunk<T>*>(tensor.data<T>()) : nullptr;
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

// normed = (s - mean) / deviation weight (+ bias) of s = x (+ y, which is also written to sum). `mean` is written when
// kCentered.
template <bool kCentered, class T>
void norm_rows(const char* op, const Tensor& x, const Tensor& y, const Tensor& weight, const Tensor& bias, double eps,
               const Tensor& sum, const Tensor& normed, const Tensor& mean, const Tensor& inverse) {
  using A = acc_t<T>;
  using C = Chunk<T>;
  const C* in = chunks_of<T>(x);
  const C* other = chunks_of<T>(y);
  const auto* w = parameters_of<T>(weight);
  const auto* shift = parameters_of<T>(bias);
  C* total = chunks_of<T>(sum);
  C* out = chunks_of<T>(normed);
  A* means = kCentered ? mean.data<A>() : nullptr;
  A* inverses = inverse.data<A>();
  const std::int64_t rows = x.rows();
  const A width = A(x.cols());
  const int chunks = static_cast<int>(x.cols()) / C::kSize;
  const A epsilon = A(eps);
  for_each_row(op, x.device(), (rows + kRowWarps - 1) / kRowWarps, [=] __device__(std::int64_t block) {
    const std::int64_t r = block * kRowWarps + threadIdx.x / kWarp;
    if (r >= rows) return;
    const std::int64_t begin = r * chunks;
    A values[kLaneChunks][C::kSize];
    A s = 0;
    for_lane_chunks(chunks, [&](int k, int c) {
      C chunk = in[begin + c];
      if (other != nullptr) {
        const C more = other[begin + c];
#pragma unroll
        for (int e = 0; e < C::kSize; ++e) chunk.values[e] = static_cast<T>(A(chunk.values[e]) + A(more.values[e]));
        total[begin + c] = chunk;
      }
#pragma unroll
      for (int e = 0; e < C::kSize; ++e) {
        values[k][e] = A(chunk.values[e]);
        s += values[k][e];
      }
    });
    const A mu = kCentered ? warp_sum(s) / width : A(0);
    A squares = 0;
    for_lane_chunks(chunks, [&](int k, int) {
#pragma unroll
      for (int e = 0; e < C::kSize; ++e) squares += (values[k][e] - mu) * (values[k][e] - mu);
    });
    const A scale = A(1) / std::sqrt(warp_sum(squares) / width + epsilon);
    if (threadIdx.x % kWarp == 0) {
      if (kCentered) means[r] = mu;
      inverses[r] = scale;
    }
    for_lane_chunks(chunks, [&](int k, int c) {
      const ChunkParameters<T> factor = w[c];
      const ChunkParameters<T> offset = shift == nullptr ? ChunkParameters<T>{} : shift[c];
      C result;
#pragma unroll
      for (int e = 0; e < C::kSize; ++e) {
        const A value = (values[k][e] - mu) * scale * factor.values[e];
        result.values[e] = static_cast<T>(shift == nullptr ? value : value + offset.values[e]);
      }
      out[begin + c] = result;
    });
  });
}

// d (+)= dsum + the gradient at s of the norm, for dnormed.
template <bool kCentered, class T>
void norm_rows_gradient(const char* op, const Tensor& s, const Tensor& weight, const Tensor& mean,
                        const Tensor& inverse, const Tensor& dnormed, const Tensor& dsum, const GradTarget& d) {
  using A = acc_t<T>;
  using C = Chunk<T>;
  const C* in = chunks_of<T>(s);
  const auto* w = parameters_of<T>(weight);
  const C* up = chunks_of<T>(dnormed);
  const C* residual = chunks_of<T>(dsum);
  C* out = chunks_of<T>(d.tensor);
  const A* means = kCentered ? mean.data<A>() : nullptr;
  const A* inverses = inverse.data<A>();
  const bool add = d.add;
  const std::int64_t rows = s.rows();
  const A width = A(s.cols());
  const int chunks = static_cast<int>(s.cols()) / C::kSize;
  for_each_row(op, s.device(), (rows + kRowWarps - 1) / kRowWarps, [=] __device__(std::int64_t block) {
    const std::int64_t r = block * kRowWarps + threadIdx.x / kWarp;
    if (r >= rows) return;
    const std::int64_t begin = r * chunks;
    const A mu = kCentered ? means[r] : A(0);
    const A scale = inverses[r];
    A slopes[kLaneChunks][C::kSize];   // dnormed weight
    A centred[kLaneChunks][C::kSize];  // s - mean
    A sum_g = 0;
    A sum_gx = 0;
    for_lane_chunks(chunks, [&](int k, int c) {
      const C value = in[begin + c];
      const C slope = up[begin + c];
      const ChunkParameters<T> factor = w[c];
#pragma unroll
      for (int e = 0; e < C::kSize; ++e) {
        slopes[k][e] = A(slope.values[e]) * factor.values[e];
        centred[k][e] = A(value.values[e]) - mu;
        sum_g += slopes[k][e];
        sum_gx += slopes[k][e] * centred[k][e];
      }
    });
    const A mean_g = kCentered ? warp_sum(sum_g) / width : A(0);
    const A along = warp_sum(sum_gx) * scale * scale / width;
    for_lane_chunks(chunks, [&](int k, int c) {
      const C more = residual == nullptr ? C{} : residual[begin + c];
      C result = add ? out[begin + c] : C{};
#pragma unroll
      for (int e = 0; e < C::kSize; ++e) {
        A value = scale * (slopes[k][e] - mean_g - centred[k][e] * along);
        if (residual != nullptr) value += A(more.values[e]);
        result.values[e] = static_cast<T>(add ? A(result.values[e]) + value : value);
      }
      out[begin + c] = result;
    });
  });
}

}  // namespace mixgrad::cuda
