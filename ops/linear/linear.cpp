#include "ops/linear/linear.h"

#include "autograd/tape.h"
#include "ops/elementwise/elementwise.h"
#include "ops/linear/linear_kernels.h"
#include "ops/operators.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

void linear_gradient(BackwardContext& context) {
  const Tensor& x = context.saved(0);
  const Tensor& weight = context.saved(1);
  const GradTarget dx = context.gradient(0, x.shape());
  const GradTarget dweight = context.gradient(1, weight.shape());
  const GradTarget dbias = context.gradient(2, {weight.dim(0)});
  MIXGRAD_DISPATCH(x.device(), linear_backward, x, weight, context.output_gradient(), dx, dweight, dbias);
}

}  // namespace

const OpSpec linear_spec{
    .name = "linear",
    .formula = "y[r,n] = sum_k x[r,k] weight[n,k] + bias[n]",
    .gradient = "dx = dy weight, dweight = dy^T x, dbias[n] = sum_r dy[r,n]",
    .saves = "x, weight",
    .inputs = 3,
    .outputs = 1,
    .differentiable = {0, 1, 2},
    .roles = {InputRole::activation, InputRole::parameter, InputRole::parameter},
    .backward = linear_gradient,
};

namespace {

void check(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  require_float("linear", "x", x);
  require_float("linear", "weight", weight);
  require_like("linear", "weight", weight, x);
  require_rank("linear", "weight", weight, 2, "[N,K]");
  require_contiguous("linear", "weight", weight);
  if (x.shape().rank() == 0 || x.cols() != weight.dim(1)) {
    raise<ShapeError>("linear: the last axis of x must be ", weight.dim(1), " to match weight ", weight.shape(),
                      ", got x ", x.shape());
  }
  if (bias.defined()) {
    require_like("linear", "bias", bias, x);
    require_shape("linear", "bias", bias, {weight.dim(0)});
  }
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check(x, weight, bias);
  Tensor y = Tensor::empty(x.shape().with_last(weight.dim(0)), x.dtype(), x.device());
  MIXGRAD_DISPATCH(x.device(), linear_forward, x, weight, bias, y);
  if (any_tracked({&x, &weight, &bias})) {
    record(linear_spec, {&x, &weight, &bias}, {&y}, {&x, &weight});
  }
  return y;
}

Tensor linear_gelu(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check(x, weight, bias);
  if constexpr (MIXGRAD_FOLDER_HAS_CUDA) {
    if (x.device().is_cuda() && !context().check_devices && !any_tracked({&x, &weight, &bias})) {
      Tensor y = Tensor::empty(x.shape().with_last(weight.dim(0)), x.dtype(), x.device());
      if (cuda::linear_gelu_forward(x, weight, bias, y)) return y;
    }
  }
  return gelu(linear(x, weight, bias));
}

void linear_into(const Tensor& x, const Tensor& weight, const Tensor& bias, Tensor& whole, std::int64_t column) {
  check(x, weight, bias);
  require_float("linear", "whole", whole);
  require_like("linear", "whole", whole, x);
  const std::int64_t end = column + weight.dim(0);
  if (column < 0 || end > whole.cols() || !(whole.shape() == x.shape().with_last(whole.cols()))) {
    raise<ShapeError>("linear: the columns [", column, ",", end, ") for x ", x.shape(),
                      " must lie within a tensor of as many rows, got ", whole.shape());
  }
  MIXGRAD_DISPATCH(x.device(), linear_forward, x, weight, bias, whole.detach().column_view(column, end));
  if (any_tracked({&x, &weight, &bias})) {
    Tensor y = output_columns(whole, column, end);
    record(linear_spec, {&x, &weight, &bias}, {&y}, {&x, &weight});
  }
}

}  // namespace mixgrad
