#include "ops/rms_norm/rms_norm.h"

#include "autograd/tape.h"
#include "ops/check.h"
#include "ops/rms_norm/rms_norm_kernels.h"

namespace mixgrad {
namespace {

struct NormAttributes {
  double eps;
};

void check(const char* op, const Tensor& x, const Tensor& weight, double eps) {
  require_float(op, "x", x);
  require_float(op, "weight", weight);
  require_like(op, "weight", weight, x);
  if (x.shape().rank() == 0 || x.cols() == 0)
    raise<ShapeError>(op, ": x needs a last axis of at least 1, got ", x.shape());
  require_shape(op, "weight", weight, {x.cols()});
  if (!(eps > 0)) raise<ValueError>(op, ": eps must be above 0, got ", eps);
}

DType statistics_dtype(const Tensor& x) { return x.dtype() == DType::f64 ? DType::f64 : DType::f32; }

void norm_gradient(BackwardContext& context, int weight_input, const Tensor& dnormed, const Tensor& dsum,
                   const GradTarget& d) {
  const Tensor& x = context.saved(0);
  const Tensor& weight = context.saved(1);
  GradTarget dweight;
  if (context.wants(weight_input)) dweight = context.parameter_gradient(weight_input, weight.shape());
  MIXGRAD_DISPATCH(x.device(), rms_norm_backward(x, weight, context.saved(2), dnormed, dsum, d, dweight));
}

void rms_norm_gradient(BackwardContext& context) {
  GradTarget dx;
  if (context.wants(0)) dx = context.gradient(0, context.saved(0).shape());
  norm_gradient(context, 1, context.output_gradient(), Tensor(), dx);
}

void add_rms_norm_gradient(BackwardContext& context) {
  const Tensor& dsum = context.output_gradient(0);
  const Tensor& dnormed = context.output_gradient(1);
  if (!dnormed.defined()) {
    context.pass(0, dsum);
    context.pass(1, dsum);
    return;
  }
  const Tensor& sum = context.saved(0);
  const Tensor d = Tensor::empty(sum.shape(), sum.dtype(), sum.device());
  norm_gradient(context, 2, dnormed, dsum, {d, false});
  context.pass(0, d);
  context.pass(1, d);
}

}  // namespace

const OpSpec rms_norm_spec{OpId::rms_norm,
                           "rms_norm",
                           "y = weight x inv_rms, inv_rms = 1/sqrt(mean(x^2) + eps)",
                           "dx = inv_rms (g - x inv_rms^2 mean(g x)), g = dy weight; dweight = sum dy x inv_rms",
                           "x, weight, inv_rms per row",
                           2,
                           1,
                           0b11,
                           rms_norm_gradient};

const OpSpec add_rms_norm_spec{OpId::add_rms_norm,
                               "add_rms_norm",
                               "sum = x + y, normed = rms_norm(sum)",
                               "dx = dy = dsum + rms_norm'(dnormed); dweight as rms_norm",
                               "sum, weight, inv_rms per row",
                               3,
                               2,
                               0b111,
                               add_rms_norm_gradient};

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  check("rms_norm", x, weight, eps);
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  const Tensor inv_rms = Tensor::empty({x.rows()}, statistics_dtype(x), x.device());
  MIXGRAD_DISPATCH(x.device(), rms_norm_forward(x, Tensor(), weight, eps, Tensor(), y, inv_rms));
  if (any_tracked({&x, &weight})) {
    record(rms_norm_spec, {&x, &weight}, {&y}, {&x, &weight, &inv_rms}, NormAttributes{eps});
  }
  return y;
}

SumAndNorm add_rms_norm(const Tensor& x, const Tensor& y, const Tensor& weight, double eps) {
  check("add_rms_norm", x, weight, eps);
  require_float("add_rms_norm", "y", y);
  require_like("add_rms_norm", "y", y, x);
  require_shape("add_rms_norm", "y", y, x.shape());
  SumAndNorm out{Tensor::empty(x.shape(), x.dtype(), x.device()), Tensor::empty(x.shape(), x.dtype(), x.device())};
  const Tensor inv_rms = Tensor::empty({x.rows()}, statistics_dtype(x), x.device());
  MIXGRAD_DISPATCH(x.device(), rms_norm_forward(x, y, weight, eps, out.sum, out.normed, inv_rms));
  if (any_tracked({&x, &y, &weight})) {
    record(add_rms_norm_spec, {&x, &y, &weight}, {&out.sum, &out.normed}, {&out.sum, &weight, &inv_rms},
           NormAttributes{eps});
  }
  return out;
}

}  // namespace mixgrad
