#include "core/cuda/launch.cuh"
#include "ops/linear/linear_kernels.h"
#include "ops/linear/linear_products.h"
#include "ops/matmul/matmul_cuda.h"
#include "ops/matmul/matvec_cuda.h"

namespace mixgrad::cuda {
namespace {

constexpr int kBiasColumns = kWarp;  // that a block of the second stage joins
constexpr int kBiasGroups = kRowThreads / kBiasColumns;

// As column_sums, 16 bytes of a row at a time: a thread adds up the kSumRows rows of a partial sum for the columns of a
// chunk; then kBiasGroups threads for each column add up every kBiasGroups-th partial sum, and are joined in order.
template <class T>
void backward_bias_chunks(const Rows<T>& dy, Device device, acc_t<T>* to, bool add) {
  using A = acc_t<T>;
  constexpr int kSize = Chunk<T>::kSize;
  const std::int64_t chunks = dy.width / kSize;
  const std::int64_t rows = dy.count;
  const std::int64_t width = dy.width;
  const std::int64_t blocks = (rows + kSumRows - 1) / kSumRows;
  const Tensor scratch = Tensor::empty({blocks, width}, dtype_of<A>(), device);
  A* partial = scratch.data<A>();
  for_each("linear", device, blocks * chunks, [=] __device__(std::int64_t i) {
    const std::int64_t c = i % chunks * kSize;
    const std::int64_t begin = i / chunks * kSumRows;
    const std::int64_t end = begin + kSumRows < rows ? begin + kSumRows : rows;
    A sums[kSize] = {};
#pragma unroll 8
    for (std::int64_t r = begin; r < end; ++r) {
      const Chunk<T> chunk = *reinterpret_cast<const Chunk<T>*>(dy[r] + c);
#pragma unroll
      for (int e = 0; e < kSize; ++e) sums[e] += A(chunk.values[e]);
    }
#pragma unroll
    for (int e = 0; e < kSize; ++e) partial[i / chunks * width + c + e] = sums[e];
  });
  for_each_row("linear", device, (width + kBiasColumns - 1) / kBiasColumns, [=] __device__(std::int64_t block) {
    __shared__ A groups[kBiasGroups][kBiasColumns];
    const auto column = static_cast<int>(threadIdx.x) % kBiasColumns;
    const auto group = static_cast<int>(threadIdx.x) / kBiasColumns;
    const std::int64_t c = block * kBiasColumns + column;
    A sum = 0;
#pragma unroll 8
    for (std::int64_t b = group; b < blocks; b += kBiasGroups) sum += c < width ? partial[b * width + c] : A(0);
    groups[group][column] = sum;
    __syncthreads();
    if (group == 0 && c < width) {
      for (int g = 1; g < kBiasGroups; ++g) sum += groups[g][column];
      to[c] = add ? to[c] + sum : sum;
    }
    __syncthreads();  // the next block of columns may write
  });
}

template <class T>
void backward_bias(const Tensor& dy, const GradTarget& dbias) {
  using A = acc_t<T>;
  const Rows<T> up(dy);
  A* to = dbias.tensor.data<A>();
  const bool add = dbias.add;
  if (reinterpret_cast<std::uintptr_t>(up.data) % 16 == 0 && up.stride % Chunk<T>::kSize == 0 &&
      up.width % Chunk<T>::kSize == 0) {
    return backward_bias_chunks<T>(up, dy.device(), to, add);
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
