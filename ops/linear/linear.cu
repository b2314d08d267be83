#include "core/cuda/launch.cuh"
#include "core/cuda/partial_sums.cuh"
#include "ops/linear/linear_kernels.h"
#include "ops/linear/linear_products.h"
#include "ops/matmul/matmul_cuda.h"
#include "ops/matmul/matvec_cuda.h"

namespace mixgrad::cuda {
namespace {

constexpr int kBiasThreads = 256;
constexpr int kBiasGroups = kBiasThreads / kWarp;                     // of rows, in a block of the first stage
constexpr int kGroupRows = static_cast<int>(kSumRows) / kBiasGroups;  // that a thread adds up

// partial[block, c] = sum of rows [64 block, 64 block + 64) of column c. A warp has 32 chunks of 16 bytes side by side,
// the warps of a block take 8 rows each, all in flight, and are joined in order.
template <class T>
__global__ void __launch_bounds__(kBiasThreads) partial_bias_kernel(Rows<const T> dy, acc_t<T>* partial) {
  using A = acc_t<T>;
  constexpr int kSize = Chunk<T>::kSize;
  __shared__ A sums_of_groups[kBiasGroups][kWarp * kSize];
  wait_for_previous();
  const auto lane = static_cast<int>(threadIdx.x) % kWarp;
  const auto group = static_cast<int>(threadIdx.x) / kWarp;
  const std::int64_t first_column = static_cast<std::int64_t>(blockIdx.x) * kWarp * kSize;
  const std::int64_t c = first_column + lane * kSize;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.y) * kSumRows + group * kGroupRows;
  Chunk<T> rows[kGroupRows];
#pragma unroll
  for (int i = 0; i < kGroupRows; ++i) {
    const bool there = c < dy.width && first + i < dy.count;
    rows[i] = there ? *reinterpret_cast<const Chunk<T>*>(dy[first + i] + c) : Chunk<T>{};
  }
#pragma unroll
  for (int e = 0; e < kSize; ++e) {
    A sum = 0;
#pragma unroll
    for (int i = 0; i < kGroupRows; ++i) sum += A(rows[i].values[e]);
    sums_of_groups[group][lane * kSize + e] = sum;
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kWarp * kSize; i += kBiasThreads) {
    if (first_column + i >= dy.width) continue;
    A sum = 0;
#pragma unroll
    for (int g = 0; g < kBiasGroups; ++g) sum += sums_of_groups[g][i];
    partial[blockIdx.y * dy.width + first_column + i] = sum;
  }
}

// column_sums, 16 bytes of a row at a time.
template <class T>
void backward_bias_chunks(const Tensor& dy, acc_t<T>* to, bool add) {
  using A = acc_t<T>;
  const Rows<const T> up(dy.data<T>(), dy.rows(), dy.cols(), dy.row_stride());
  const std::int64_t blocks = (up.count + kSumRows - 1) / kSumRows;
  const std::int64_t across = (up.width + kWarp * Chunk<T>::kSize - 1) / (kWarp * Chunk<T>::kSize);
  const Tensor partial = Tensor::empty({blocks, up.width}, dtype_of<A>(), dy.device());
  launch("linear", dy.device(), dim3(static_cast<unsigned>(across), static_cast<unsigned>(blocks)), kBiasThreads, 0,
         partial_bias_kernel<T>, up, partial.data<A>());
  join_partial_sums("linear", dy.device(), partial.data<A>(), blocks, up.width, StoreGradient<A>{to, add});
}

template <class T>
void backward_bias(const Tensor& dy, const GradTarget& dbias) {
  using A = acc_t<T>;
  const Rows<T> up(dy);
  A* to = dbias.tensor.data<A>();
  const bool add = dbias.add;
  constexpr std::int64_t kMostBlocks = 65535;  // of a grid's second axis
  if (reinterpret_cast<std::uintptr_t>(up.data) % 16 == 0 && up.stride % Chunk<T>::kSize == 0 &&
      up.width % Chunk<T>::kSize == 0 && up.count > 0 && up.count <= kMostBlocks * kSumRows) {
    return backward_bias_chunks<T>(dy, to, add);
  }
  column_sums<A>(
      "linear", dy.device(), up.count, up.width, [=] __device__(std::int64_t r, std::int64_t c) { return A(up[r][c]); },
      [=] __device__(std::int64_t c, A sum) { to[c] = add ? to[c] + sum : sum; });
}

}  // namespace

void linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y) {
  dispatch_float(x.dtype(), "linear", [&]<class T>() {
    Product<T, T> product = linear_product(Rows<T>(x), Rows<T>(weight), Rows<T>(y));
    product.bias = bias.defined() ? bias.data<T>() : nullptr;
    matmul(product, x.device());
  });
}

bool linear_gelu_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y) {
  return dispatch_float(x.dtype(), "linear", [&]<class T>() {
    Product<T, T> product = linear_product(Rows<T>(x), Rows<T>(weight), Rows<T>(y));
    product.bias = bias.defined() ? bias.data<T>() : nullptr;
    if (product.m == 0 || product.n == 0 || !matvec_takes(product)) return false;
    matvec(product, x.device(), MatvecResult::gelu);
    return true;
  });
}

void linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy, const GradTarget& dx,
                     const GradTarget& dweight, const GradTarget& dbias) {
  dispatch_float(x.dtype(), "linear", [&]<class T>() {
    const Rows<T> up(dy);
    if (dx.tensor.defined()) matmul(linear_dx_product(up, Rows<T>(weight), Rows<T>(dx.tensor), dx.add), dy.device());
    if (dweight.tensor.defined()) {
      matmul(linear_dweight_product(up, Rows<T>(x), Rows<acc_t<T>>(dweight.tensor), dweight.add), dy.device());
    }
    if (dbias.tensor.defined()) backward_bias<T>(dy, dbias);
  });
}

}  // namespace mixgrad::cuda
