#include "ops/layer_norm/layer_norm.h"

#include "ops/layer_norm/layer_norm_kernels.h"
#include "ops/norm/norm.h"
#include "ops/operators.h"

namespace mixgrad {
namespace {

void check(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  check_norm(op, x, weight, eps);
  if (!bias.defined()) return;
  require_precise(op, "bias", bias, x);
  require_shape(op, "bias", bias, {x.cols()});
}

// Inputs of both operators end in weight, bias; what was normed, weight, mean and inv_std are saved in this order.
auto gradient_of(BackwardContext& context) {
  return [&context](int first_parameter, const Tensor& dnormed, const Tensor& dsum, const GradTarget& d,
                    const GradTarget& dy) {
    const Tensor& x = context.saved(0);
    const Tensor& weight = context.saved(1);
    const GradTarget dweight = context.gradient(first_parameter, weight.shape());
    const GradTarget dbias = context.gradient(first_parameter + 1, weight.shape());
    MIXGRAD_DISPATCH(x.device(), layer_norm_backward, x, weight, context.saved(2), context.saved(3), dnormed, dsum, d,
                     dy, dweight, dbias);
  };
}

void layer_norm_gradient(BackwardContext& context) { norm_alone_gradient(context, gradient_of(context)); }

void add_layer_norm_gradient(BackwardContext& context) { add_norm_gradient(context, gradient_of(context)); }

}  // namespace

const OpSpec layer_norm_spec{
    .name = "layer_norm",
    .formula = "y = weight (x - mean) inv_std + bias, inv_std = 1/sqrt(var + eps)",
    .gradient =
        "dx = inv_std (g - mean(g) - xhat mean(g xhat)), g = dy weight; dweight = sum dy xhat, "
        "dbias = sum dy",
    .saves = "x, weight, mean and inv_std per row",
    .inputs = 3,
    .outputs = 1,
    .differentiable = {0, 1, 2},
    .roles = {InputRole::activation, InputRole::parameter_f32, InputRole::parameter_f32},
    .backward = layer_norm_gradient,
};

const OpSpec add_layer_norm_spec{
    .name = "add_layer_norm",
    .formula = "sum = x + y, normed = layer_norm(sum)",
    .gradient = "dx = dy = dsum + layer_norm'(dnormed); dweight, dbias as layer_norm",
    .saves = "sum, weight, mean and inv_std per row",
    .inputs = 4,
    .outputs = 2,
    .differentiable = {0, 1, 2, 3},
    .roles = {InputRole::activation, InputRole::activation, InputRole::parameter_f32, InputRole::parameter_f32},
    .backward = add_layer_norm_gradient,
};

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps, std::optional<DType> out) {
  check("layer_norm", x, weight, bias, eps);
  Tensor y = Tensor::empty(x.shape(), normed_dtype("layer_norm", x, out), x.device());
  const Tensor mean = Tensor::empty({x.rows()}, statistics_dtype(x), x.device());
  const Tensor inv_std = Tensor::empty({x.rows()}, statistics_dtype(x), x.device());
  MIXGRAD_DISPATCH(x.device(), layer_norm_forward, x, Tensor(), weight, bias, eps, Tensor(), y, mean, inv_std);
  if (any_tracked({&x, &weight, &bias})) {
    record(layer_norm_spec, {&x, &weight, &bias}, {&y}, {&x, &weight, &mean, &inv_std}, NormAttributes{eps});
  }
  return y;
}

SumAndNorm add_layer_norm(const Tensor& x, const Tensor& y, const Tensor& weight, const Tensor& bias, double eps) {
  check("add_layer_norm", x, weight, bias, eps);
  check_addend("add_layer_norm", y, x);
  SumAndNorm out{Tensor::empty(x.shape(), x.dtype(), x.device()), Tensor::empty(x.shape(), y.dtype(), x.device())};
  const Tensor mean = Tensor::empty({x.rows()}, statistics_dtype(x), x.device());
  const Tensor inv_std = Tensor::empty({x.rows()}, statistics_dtype(x), x.device());
  MIXGRAD_DISPATCH(x.device(), layer_norm_forward, x, y, weight, bias, eps, out.sum, out.normed, mean, inv_std);
  if (any_tracked({&x, &y, &weight, &bias})) {
    record(add_layer_norm_spec, {&x, &y, &weight, &bias}, {&out.sum, &out.normed}, {&out.sum, &weight, &mean, &inv_std},
           NormAttributes{eps, x.dtype() != y.dtype()});
  }
  return out;
}

}  // namespace mixgrad
