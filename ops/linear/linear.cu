#include "core/cuda/launch.cuh"
#include "ops/linear/linear_kernels.h"
#include "ops/linear/linear_products.h"
#include "ops/matmul/matmul_cuda.h"
#include "ops/matmul/matvec_cuda.h"

namespace mixgrad::cuda {
namespace {

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
    matvec(product, x.device(), Activation::gelu);
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
