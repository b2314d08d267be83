#include "ops/linear/linear_kernels.h"
#include "ops/linear/linear_products.h"
#include "ops/matmul/matmul.h"
#include "ops/support/row_tasks.h"

namespace mixgrad::cpu {

void linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& y) {
  dispatch_float(x.dtype(), "linear", [&]<class T>() {
    Product<T, T> product = linear_product(Rows<T>(x), Rows<T>(weight), Rows<T>(y));
    product.bias = bias.defined() ? bias.data<T>() : nullptr;
    matmul(product);
  });
}

void linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy, const GradTarget& dx,
                     const GradTarget& dweight, const GradTarget& dbias) {
  dispatch_float(x.dtype(), "linear", [&]<class T>() {
    using A = acc_t<T>;
    const Rows<T> up(dy);
    if (dx.tensor.defined()) matmul(linear_dx_product(up, Rows<T>(weight), Rows<T>(dx.tensor), dx.add));
    if (dweight.tensor.defined()) {
      matmul(linear_dweight_product(up, Rows<T>(x), Rows<A>(dweight.tensor), dweight.add));
    }
    if (dbias.tensor.defined()) add_column_sums(up, dbias.add, dbias.tensor.data<A>());
  });
}

}  // namespace mixgrad::cpu
