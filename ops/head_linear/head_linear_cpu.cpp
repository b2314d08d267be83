#include "ops/head_linear/head_linear_kernels.h"
#include "ops/head_linear/head_linear_products.h"
#include "ops/matmul/matmul.h"
#include "ops/support/row_tasks.h"

namespace mixgrad::cpu {

void head_linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, bool add, const Tensor& y) {
  dispatch_float(x.dtype(), "head_linear", [&]<class T>() { matmul(head_linear_product<T>(x, weight, bias, add, y)); });
}

void head_linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy, const GradTarget& dx,
                          const GradTarget& dweight) {
  dispatch_float(x.dtype(), "head_linear", [&]<class T>() {
    if (dx.tensor.defined()) matmul(head_linear_dx_product<T>(weight, dy, dx.tensor, dx.add));
    if (dweight.tensor.defined()) matmul(head_linear_dweight_product<T>(x, dy, dweight.tensor, dweight.add));
  });
}

void head_linear_bias_backward(const Tensor& dy, const GradTarget& dbias) {
  dispatch_float(dy.dtype(), "head_linear",
                 [&]<class T>() { add_column_sums(Rows<T>(dy), dbias.add, dbias.tensor.data<acc_t<T>>()); });
}

}  // namespace mixgrad::cpu
