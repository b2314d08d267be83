#include "ops/norm/norm_cpu.h"
#include "ops/rms_norm/rms_norm_kernels.h"

namespace mixgrad::cpu {

void rms_norm_forward(const Tensor& x, const Tensor& y, const Tensor& weight, double eps, const Tensor& sum,
                      const Tensor& normed, const Tensor& inv_rms) {
  norm_forward<false>("rms_norm", x, y, weight, {}, eps, sum, normed, {}, inv_rms);
}

void rms_norm_backward(const Tensor& x, const Tensor& weight, const Tensor& inv_rms, const Tensor& dnormed,
                       const Tensor& dsum, const GradTarget& d, const GradTarget& dy, const GradTarget& dweight) {
  norm_backward<false>("rms_norm", x, weight, {}, inv_rms, dnormed, dsum, d, dy, dweight, {});
}

}  // namespace mixgrad::cpu
