#include "ops/linear/linear_kernels.h"
#include "ops/matmul/matmul.h"
#include "ops/rows.h"

namespace mixgrad::cpu {

void linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y) {
  dispatch_float(x.dtype(), "linear", [&]<class T>() {
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
    matmul(product);
  });
}

void linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy, const GradTarget& dx,
                     const GradTarget& dweight, const GradTarget& dbias) {
  dispatch_float(x.dtype(), "linear", [&]<class T>() {
    using A = acc_t<T>;
    const std::int64_t n = weight.dim(0);
    const std::int64_t k = weight.dim(1);
    if (dx.tensor.defined()) {
      Product<T, T> product{};
      product.m = x.rows();
      product.n = k;
      product.k = n;
      product.a = dy.data<T>();
      product.lda = dy.row_stride();
      product.b = weight.data<T>();
      product.ldb = weight.row_stride();
      product.c = dx.tensor.data<T>();
      product.ldc = dx.tensor.row_stride();
      product.accumulate = dx.add;
      matmul(product);
    }
    if (dweight.tensor.defined()) {
      Product<T, A> product{};
      product.m = n;
      product.n = k;
      product.k = x.rows();
      product.a = dy.data<T>();
      product.lda = dy.row_stride();
      product.transpose_a = true;
      product.b = x.data<T>();
      product.ldb = x.row_stride();
      product.c = dweight.tensor.data<A>();
      product.ldc = dweight.tensor.row_stride();
      product.accumulate = dweight.add;
      matmul(product);
    }
    if (dbias.tensor.defined()) add_column_sums(Rows<T>(dy), dbias.add, dbias.tensor.data<A>());
  });
}

}  // namespace mixgrad::cpu
