#include "ops/rms_norm/rms_norm.h"

#include "ops/norm/norm.h"
#include "ops/operators.h"
#include "ops/rms_norm/rms_norm_kernels.h"

namespace mixgrad {
namespace {

auto gradient_of(BackwardContext& context) {
  return [&context](int weight_input, const Tensor& dnormed, const Tensor& dsum, const GradTarget& d,
                    const GradTarget& dy) {
    const Tensor& x = context.saved(0);
    const Tensor& weight = context.saved(1);
    const GradTarget dweight = context.gradient(weight_input, weight.shape());
    MIXGRAD_DISPATCH(x.device(), rms_norm_backward, x, weight, context.saved(2), dnormed, dsum, d, dy, dweight);
  };
}

void rms_norm_gradient(BackwardContext& context) { norm_alone_gradient(context, gradient_of(context)); }

void add_rms_norm_gradient(BackwardContext& context) { add_norm_gradient(context, gradient_of(context)); }

}  // namespace

const OpSpec rms_norm_spec{
    .name = "rms_norm",
    .formula = "y = weight x inv_rms, inv_rms = 1/sqrt(mean(x^2) + eps)",
    .gradient = "dx = inv_rms (g - x inv_rms^2 mean(g x)), g = dy weight; dweight = sum dy x inv_rms",
    .saves = "x, weight, inv_rms per row",
    .inputs = 2,
    .outputs = 1,
    .differentiable = {0, 1},
    .roles = {InputRole::activation, InputRole::parameter_f32},
    .backward = rms_norm_gradient,
};

const OpSpec add_rms_norm_spec{
    .name = "add_rms_norm",
    .formula = "sum = x + y, normed = rms_norm(sum)",
    .gradient = "dx = dy = dsum + rms_norm'(dnormed); dweight as rms_norm",
    .saves = "sum, weight, inv_rms per row",
    .inputs = 3,
    .outputs = 2,
    .differentiable = {0, 1, 2},
    .roles = {InputRole::activation, InputRole::activation, InputRole::parameter_f32},
    .backward = add_rms_norm_gradient,
};

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, std::optional<DType> out) {
  check_norm("rms_norm", x, weight, eps);
  Tensor y = Tensor::empty(x.shape(), normed_dtype("rms_norm", x, out), x.device());
  const Tensor inv_rms = Tensor::empty({x.rows()}, statistics_dtype(x), x.device());
  MIXGRAD_DISPATCH(x.device(), rms_norm_forward, x, Tensor(), weight, eps, Tensor(), y, inv_rms);
  if (any_tracked({&x, &weight})) {
    record(rms_norm_spec, {&x, &weight}, {&y}, {&x, &weight, &inv_rms}, NormAttributes{eps});
  }
  return y;
}

SumAndNorm add_rms_norm(const Tensor& x, const Tensor& y, const Tensor& weight, double eps) {
  check_norm("add_rms_norm", x, weight, eps);
  check_addend("add_rms_norm", y, x);
  SumAndNorm out{Tensor::empty(x.shape(), x.dtype(), x.device()), Tensor::empty(x.shape(), y.dtype(), x.device())};
  const Tensor inv_rms = Tensor::empty({x.rows()}, statistics_dtype(x), x.device());
  MIXGRAD_DISPATCH(x.device(), rms_norm_forward, x, y, weight, eps, out.sum, out.normed, inv_rms);
  if (any_tracked({&x, &y, &weight})) {
    record(add_rms_norm_spec, {&x, &y, &weight}, {&out.sum, &out.normed}, {&out.sum, &weight, &inv_rms},
           NormAttributes{eps, x.dtype() != y.dtype()});
  }
  return out;
}

}  // namespace mixgrad
