#include "ops/linear/linear.h"

#include "autograd/tape.h"
#include "ops/check.h"
#include "ops/linear/linear_kernels.h"

namespace mixgrad {
namespace {

struct LinearAttributes {};

void linear_gradient(BackwardContext& context) {
  const Tensor& x = context.saved(0);
  const Tensor& weight = context.saved(1);
  GradTarget dx;
  GradTarget dweight;
  GradTarget dbias;
  if (context.wants(0)) dx = context.gradient(0, x.shape());
  if (context.wants(1)) dweight = context.parameter_gradient(1, weight.shape());
  if (context.wants(2)) dbias = context.parameter_gradient(2, {weight.dim(0)});
  MIXGRAD_DISPATCH(x.device(), linear_backward(x, weight, context.output_gradient(), dx, dweight, dbias));
}

}  // namespace

const OpSpec linear_spec{OpId::linear,
                         "linear",
                         "y[r,n] = sum_k x[r,k] weight[n,k] + bias[n]",
                         "dx = dy weight, dweight = dy^T x, dbias[n] = sum_r dy[r,n]",
                         "x, weight",
                         3,
                         1,
                         0b111,
                         linear_gradient};

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
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
  Tensor y = Tensor::empty(x.shape().with_last(weight.dim(0)), x.dtype(), x.device());
  MIXGRAD_DISPATCH(x.device(), linear_forward(x, weight, bias, y));
  if (any_tracked({&x, &weight, &bias})) {
    record(linear_spec, {&x, &weight, &bias}, {&y}, {&x, &weight}, LinearAttributes{});
  }
  return y;
}

}  // namespace mixgrad
