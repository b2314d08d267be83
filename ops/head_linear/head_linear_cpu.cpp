// The heads are a batch of products: operands of head h lie h I (or h O) columns into the rows of x (or y).
#include "ops/head_linear/head_linear_kernels.h"
#include "ops/matmul/matmul.h"
#include "ops/rows.h"

namespace mixgrad::cpu {

void head_linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, bool add, const Tensor& y) {
  dispatch_float(x.dtype(), "head_linear", [&]<class T>() {
    const std::int64_t out = weight.dim(1);
    const std::int64_t in = weight.dim(2);
    Product<T, T> product{};
    product.m = x.rows();
    product.n = out;
    product.k = in;
    product.a = x.data<T>();
    product.lda = x.row_stride();
    product.b = weight.data<T>();
    product.ldb = weight.row_stride();
    product.transpose_b = true;
    product.c = y.data<T>();
    product.ldc = y.row_stride();
    product.accumulate = add;
    product.bias = bias.defined() ? bias.data<T>() : nullptr;
    product.batch = weight.dim(0);
    product.stride_a = in;
    product.stride_b = out * weight.row_stride();
    product.stride_c = out;
    product.stride_bias = out;
    matmul(product);
  });
}

void head_linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy, const GradTarget& dx,
                          const GradTarget& dweight) {
  dispatch_float(x.dtype(), "head_linear", [&]<class T>() {
    using A = acc_t<T>;
    const std::int64_t out = weight.dim(1);
    const std::int64_t in = weight.dim(2);
    if (dx.tensor.defined()) {
      Product<T, T> product{};
      product.m = x.rows();
      product.n = in;
      product.k = out;
      product.a = dy.data<T>();
      product.lda = dy.row_stride();
      product.b = weight.data<T>();
      product.ldb = weight.row_stride();
      product.c = dx.tensor.data<T>();
      product.ldc = dx.tensor.row_stride();
      product.accumulate = dx.add;
      product.batch = weight.dim(0);
      product.stride_a = out;
      product.stride_b = out * weight.row_stride();
      product.stride_c = in;
      matmul(product);
    }
    if (dweight.tensor.defined()) {
      Product<T, A> product{};
      product.m = out;
      product.n = in;
      product.k = x.rows();
      product.a = dy.data<T>();
      product.lda = dy.row_stride();
      product.transpose_a = true;
      product.b = x.data<T>();
      product.ldb = x.row_stride();
      product.c = dweight.tensor.data<A>();
      product.ldc = dweight.tensor.row_stride();
      product.accumulate = dweight.add;
      product.batch = weight.dim(0);
      product.stride_a = out;
      product.stride_b = in;
      product.stride_c = out * dweight.tensor.row_stride();
      matmul(product);
    }
  });
}

void head_linear_bias_backward(const Tensor& dy, const GradTarget& dbias) {
  dispatch_float(dy.dtype(), "head_linear",
                 [&]<class T>() { add_column_sums(Rows<T>(dy), dbias.add, dbias.tensor.data<acc_t<T>>()); });
}

}  // namespace mixgrad::cpu
