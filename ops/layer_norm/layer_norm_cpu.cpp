#include "ops/layer_norm/layer_norm_kernels.h"
#include "ops/norm/norm_cpu.h"

namespace mixgrad::cpu {

void layer_norm_forward(const Tensor& x, const Tensor& y, const Tensor& weight, const Tensor& bias, double eps,
                        const Tensor& sum, const Tensor& normed, const Tensor& mean, const Tensor& inv_std) {
  norm_forward<true>("layer_norm", x, y, weight, bias, eps, sum, normed, mean, inv_std);
}

void layer_norm_backward(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& inv_std,
                         const Tensor& dnormed, const Tensor& dsum, const GradTarget& d, const GradTarget& dy,
                         const GradTarget& dweight, const GradTarget& dbias) {
  norm_backward<true>("layer_norm", x, weight, mean, inv_std, dnormed, dsum, d, dy, dweight, dbias);
}

}  // namespace mixgrad::cpu
