#include "ops/causal_conv/causal_conv.h"

#include "autograd/tape.h"
#include "ops/causal_conv/causal_conv_kernels.h"
#include "ops/operators.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

constexpr const char* kOp = "causal_conv";

void causal_conv_gradient(BackwardContext& context) {
  const Tensor& x = context.saved(0);
  const Tensor& weight = context.saved(1);
  const Tensor& bias = context.saved(2);
  const GradTarget dx = context.gradient(0, x.shape());
  const GradTarget dweight = context.gradient(1, weight.shape());
  const GradTarget dbias = context.gradient(2, bias.shape());
  if (x.numel() == 0) {  // no token: the sums of the parameters' gradients are empty
    for (const GradTarget* sum : {&dweight, &dbias}) {
      if (sum->tensor.defined() && !sum->add) sum->tensor.zero();
    }
    return;
  }
  MIXGRAD_DISPATCH(x.device(), causal_conv_backward, x, weight, bias, context.output_gradient(), dx, dweight, dbias);
}

void check(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  require_float(kOp, "x", x);
  require_rank(kOp, "x", x, 4, "[B,T,R,C]");
  require_float(kOp, "weight", weight);
  require_precise(kOp, "weight", weight, x);
  require_float(kOp, "bias", bias);
  require_precise(kOp, "bias", bias, x);
  require_rank(kOp, "weight", weight, 3, "[R,C,W]");
  if (weight.dim(2) < 1) raise<ShapeError>(kOp, ": weight must have at least one tap, got ", weight.shape());
  require_shape(kOp, "weight", weight, {x.dim(2), x.dim(3), weight.dim(2)});
  require_shape(kOp, "bias", bias, {x.dim(2), x.dim(3)});
  require_contiguous(kOp, "weight", weight);
  require_contiguous(kOp, "bias", bias);
}

}  // namespace

const OpSpec causal_conv_spec{
    .name = kOp,
    .formula = "y = silu(p), p_t = bias + sum_w weight[w] x_{t-(W-1)+w}",
    .gradient =
        "dp = dy silu'(p), dx_t = sum_w weight[w] dp_{t+(W-1)-w}, dweight[w] = sum dp_t "
        "x_{t-(W-1)+w}, dbias = sum dp",
    .saves = "x, weight, bias",
    .inputs = 3,
    .outputs = 1,
    .differentiable = {0, 1, 2},
    .roles = {InputRole::activation, InputRole::parameter_f32, InputRole::parameter_f32},
    .cached = "causal_conv_cached",
    .backward = causal_conv_gradient,
};

Tensor causal_conv(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check(x, weight, bias);
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  if (x.numel() > 0) MIXGRAD_DISPATCH(x.device(), causal_conv_forward, x, weight, bias, Tensor(), y);
  if (any_tracked({&x, &weight, &bias})) {
    record(causal_conv_spec, {&x, &weight, &bias}, {&y}, {&x, &weight, &bias});
  }
  return y;
}

Tensor causal_conv_cached(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& history) {
  require_untracked("causal_conv_cached", "x", x);
  require_untracked("causal_conv_cached", "weight", weight);
  require_untracked("causal_conv_cached", "bias", bias);
  check(x, weight, bias);
  require_like("causal_conv_cached", "history", history, x);
  require_shape("causal_conv_cached", "history", history, {x.dim(0), weight.dim(2) - 1, x.dim(2), x.dim(3)});
  require_contiguous("causal_conv_cached", "history", history);
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  if (x.numel() == 0) return y;  // the history stays as it is
  MIXGRAD_DISPATCH(x.device(), causal_conv_forward, x, weight, bias, history, y);
  MIXGRAD_DISPATCH(x.device(), causal_conv_keep, x, history);
  return y;
}

}  // namespace mixgrad
