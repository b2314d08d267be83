#include "core/cuda/launch.cuh"
#include "ops/head_linear/head_linear_kernels.h"
#include "ops/head_linear/head_linear_products.h"
#include "ops/matmul/matmul_cuda.h"

namespace mixgrad::cuda {
namespace {

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
  dispatch_float(x.dtype(), "head_linear",
                 [&]<class T>() { matmul(head_linear_product<T>(x, weight, bias, add, y), x.device()); });
}

void head_linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy, const GradTarget& dx,
                          const GradTarget& dweight) {
  dispatch_float(x.dtype(), "head_linear", [&]<class T>() {
    if (dx.tensor.defined()) matmul(head_linear_dx_product<T>(weight, dy, dx.tensor, dx.add), dy.device());
    if (dweight.tensor.defined()) {
      matmul(head_linear_dweight_product<T>(x, dy, dweight.tensor, dweight.add), x.device());
    }
  });
}

void head_linear_bias_backward(const Tensor& dy, const GradTarget& dbias) {
  dispatch_float(dy.dtype(), "head_linear", [&]<class T>() { backward_bias<T>(dy, dbias); });
}

}  // namespace mixgrad::cuda
