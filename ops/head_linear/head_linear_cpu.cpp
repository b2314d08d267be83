// The heads are a batch of products: operands of head h lie h I (or h O) columns into the rows of x (or y).
#include "ops/head_linear/head_linear_kernels.h"
#include "ops/matmul/matmul.h"
#include "ops/rows.h"

namespace mixgrad::cpu {
void head_linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, bool add, const Tensor& y) {
  dispatch_float(x.dtype(), "head_linear", [&]<class T>() {
    const std::int64_t out = weight.dim(1);
    const std::int64_t in = weight.dim(2);
    const HeadMatrices from(x, weight.dim(0), in);
    const HeadMatrices to(y, weight.dim(0), out);
    Product<T, T> product{};
    product.m = from.rows;
    product.n = out;
    product.k = in;
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
    product.stride_b = out * weight.row_stride();
    product.stride_c = to.stride;
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
    const HeadMatrices from(x, weight.dim(0), in);
    const HeadMatrices up(dy, weight.dim(0), out);
    if (dx.tensor.defined()) {
      const HeadMatrices to(dx.tensor, weight.dim(0), in);
      Product<T, T> product{};
      product.m = from.rows;
      product.n = in;
      product.k = out;
      product.a = dy.data<T>();
      product.lda = up.ld;
      product.b = weight.data<T>();
      product.ldb = weight.row_stride();
      product.c = dx.tensor.data<T>();
      product.ldc = to.ld;
      product.accumulate = dx.add;
      product.batch = weight.dim(0);
      product.stride_a = up.stride;
      product.stride_b = out * weight.row_stride();
      product.stride_c = to.stride;
      matmul(product);
    }
    if (dweight.tensor.defined()) {
      Product<T, A> product{};
      product.m = out;
      product.n = in;
      product.k = from.rows;
      product.a = dy.data<T>();
      product.lda = up.ld;
      product.transpose_a = true;
      product.b = x.data<T>();
      product.ldb = from.ld;
      product.c = dweight.tensor.data<A>();
      product.ldc = dweight.tensor.row_stride();
      product.accumulate = dweight.add;
      product.batch = weight.dim(0);
      product.stride_a = up.stride;
      product.stride_b = from.stride;
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
