// The heads are a batch of products, as on the CPU.
#include "core/cuda_launch.cuh"
#include "ops/head_linear/head_linear_kernels.h"
#include "ops/matmul/matmul_cuda.h"

namespace mixgrad::cuda {
namespace {

template <class T>
void forward(const Tensor& x, const Tensor& weight, const Tensor& bias, bool add, const Tensor& y) {
  const HeadMatrices from(x, weight.dim(0), weight.dim(2));
  const HeadMatrices to(y, weight.dim(0), weight.dim(1));
  Product<T, T> product{};
  product.m = from.rows;
  product.n = weight.dim(1);
  product.k = weight.dim(2);
  product.a = x.data<T>();
  product.lda = from.ld;
  product.b = weight.data<T>();
  product.ldb = weight.row_stride();
  product.transpose_b = true;
  product.c = y.data<T>();
  product.ldc = to.ld;
  product.accumulate = add;
  product.bias = bias.defined() ? bias.data<T>() : nullptr;
  product.batch = weight.dim(0);
  product.stride_a = from.stride;
  product.stride_b = product.n * weight.row_stride();
  product.stride_c = to.stride;
  product.stride_bias = product.n;
  matmul(product, x.device());
}

template <class T>
void backward_x(const Tensor& weight, const Tensor& dy, const GradTarget& dx) {
  const HeadMatrices up(dy, weight.dim(0), weight.dim(1));
  const HeadMatrices to(dx.tensor, weight.dim(0), weight.dim(2));
  Product<T, T> product{};
  product.m = up.rows;
  product.n = weight.dim(2);
  product.k = weight.dim(1);
  product.a = dy.data<T>();
  product.lda = up.ld;
  product.b = weight.data<T>();
  product.ldb = weight.row_stride();
  product.c = dx.tensor.data<T>();
  product.ldc = to.ld;
  product.accumulate = dx.add;
  product.batch = weight.dim(0);
  product.stride_a = up.stride;
  product.stride_b = product.k * weight.row_stride();
  product.stride_c = to.stride;
  matmul(product, dy.device());
}

template <class T>
void backward_weight(const Tensor& x, const Tensor& weight, const Tensor& dy, const GradTarget& dweight) {
  const HeadMatrices from(x, weight.dim(0), weight.dim(2));
  const HeadMatrices up(dy, weight.dim(0), weight.dim(1));
  Product<T, acc_t<T>> product{};
  product.m = weight.dim(1);
  product.n = weight.dim(2);
  product.k = from.rows;
  product.a = dy.data<T>();
  product.lda = up.ld;
  product.transpose_a = true;
  product.b = x.data<T>();
  product.ldb = from.ld;
  product.c = dweight.tensor.data<acc_t<T>>();
  product.ldc = dweight.tensor.row_stride();
  product.accumulate = dweight.add;
  product.batch = weight.dim(0);
  product.stride_a = up.stride;
  product.stride_b = from.stride;
  product.stride_c = product.m * dweight.tensor.row_stride();
  matmul(product, x.device());
}

template <class T>
void backward_bias(const Tensor& dy, const GradTarget& dbias) {
  using A = acc_t<T>;
  const Rows<T> up(dy);
  A* to = dbias.tensor.data<A>();
  const bool add = dbias.add;
  column_sums<A>(
      "head_linear", dy.device(), up.count, up.width,
      [=] __device__(std::int64_t r, std::int64_t c) { return A(up[r][c]); },
      [=] __device__(std::int64_t c, A sum) { to[c] = add ? to[c] + sum : sum; });
}

}  // namespace

void head_linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, bool add, const Tensor& y) {
  dispatch_float(x.dtype(), "head_linear", [&]<class T>() { forward<T>(x, weight, bias, add, y); });
}

void head_linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy, const GradTarget& dx,
                          const GradTarget& dweight) {
  dispatch_float(x.dtype(), "head_linear", [&]<class T>() {
    if (dx.tensor.defined()) backward_x<T>(weight, dy, dx);
    if (dweight.tensor.defined()) backward_weight<T>(x, weight, dy, dweight);
  });
}

void head_linear_bias_backward(const Tensor& dy, const GradTarget& dbias) {
  dispatch_float(dy.dtype(), "head_linear", [&]<class T>() { backward_bias<T>(dy, dbias); });
}

}  // namespace mixgrad::cuda
