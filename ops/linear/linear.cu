#include "core/cuda_launch.cuh"
#include "ops/linear/linear_kernels.h"
#include "ops/matmul/matmul_cuda.h"

namespace mixgrad::cuda {
namespace {

template <class T>
void forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y) {
  Product<T, T> product{};
  product.m = x.rows();
  product.n = weight.dim(0);
  product.k = weight.dim(1);
  product.a = x.data<T>();
  product.lda = x.row_stride();
  product.b = weight.data<T>();
  product.ldb = weight.row_stride();
  product.transpose_b = true;
  product.c = y.data<T>();
  product.ldc = y.row_stride();
  product.bias = bias.defined() ? bias.data<T>() : nullptr;
  matmul(product, x.device());
}

template <class T>
void backward_x(const Tensor& weight, const Tensor& dy, const GradTarget& dx) {
  Product<T, T> product{};
  product.m = dy.rows();
  product.n = weight.dim(1);
  product.k = weight.dim(0);
  product.a = dy.data<T>();
  product.lda = dy.row_stride();
  product.b = weight.data<T>();
  product.ldb = weight.row_stride();
  product.c = dx.tensor.data<T>();
  product.ldc = dx.tensor.row_stride();
  product.accumulate = dx.add;
  matmul(product, dy.device());
}

template <class T>
void backward_weight(const Tensor& x, const Tensor& dy, const GradTarget& dweight) {
  Product<T, acc_t<T>> product{};
  product.m = dy.cols();
  product.n = x.cols();
  product.k = x.rows();
  product.a = dy.data<T>();
  product.lda = dy.row_stride();
  product.transpose_a = true;
  product.b = x.data<T>();
  product.ldb = x.row_stride();
  product.c = dweight.tensor.data<acc_t<T>>();
  product.ldc = dweight.tensor.row_stride();
  product.accumulate = dweight.add;
  matmul(product, dy.device());
}

template <class T>
void backward_bias(const Tensor& dy, const GradTarget& dbias) {
  using A = acc_t<T>;
  const Rows<T> up(dy);
  A* to = dbias.tensor.data<A>();
  const bool add = dbias.add;
  column_sums<A>(
      "linear", dy.device(), up.count, up.width, [=] __device__(std::int64_t r, std::int64_t c) { return A(up[r][c]); },
      [=] __device__(std::int64_t c, A sum) { to[c] = add ? to[c] + sum : sum; });
}

}  // namespace

void linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y) {
  dispatch_float(x.dtype(), "linear", [&]<class T>() { forward<T>(x, weight, bias, y); });
}

void linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy, const GradTarget& dx,
                     const GradTarget& dweight, const GradTarget& dbias) {
  dispatch_float(x.dtype(), "linear", [&]<class T>() {
    if (dx.tensor.defined()) backward_x<T>(weight, dy, dx);
    if (dweight.tensor.defined()) backward_weight<T>(x, dy, dweight);
    if (dbias.tensor.defined()) backward_bias<T>(dy, dbias);
  });
}

}  // namespace mixgrad::cuda
