#include "ops/linear_cross_entropy/linear_cross_entropy.h"

#include "autograd/tape.h"
#include "ops/linear_cross_entropy/linear_cross_entropy_kernels.h"
#include "ops/operators.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

// On a CUDA device the forward pass has computed the gradients for a dloss of 1.
void scaled_gradient(BackwardContext& context) {
  const Tensor& dloss = context.output_gradient();
  for (const int input : {0, 1}) {
    if (!context.wants(input)) continue;
    const Tensor& gradient = context.saved(5 + input);
    const GradTarget target = context.gradient(input, gradient.shape());
    MIXGRAD_DISPATCH(gradient.device(), linear_cross_entropy_scale, gradient, dloss, target);
  }
}

void cross_entropy_gradient(BackwardContext& context) {
  const Tensor& x = context.saved(0);
  if (!x.defined()) return scaled_gradient(context);
  const Tensor& weight = context.saved(1);
  const GradTarget dx = context.gradient(0, x.shape());
  const GradTarget dweight = context.gradient(1, weight.shape());
  MIXGRAD_DISPATCH(x.device(), linear_cross_entropy_backward, x, weight, context.saved(2), context.saved(3),
                   context.saved(4), context.output_gradient(), dx, dweight);
}

}  // namespace

const OpSpec linear_cross_entropy_spec{
    .name = "linear_cross_entropy",
    .formula = "loss = mean over targets != -1 of lse_r - logits[r,target_r], logits = x weight^T",
    .gradient =
        "dlogits = dloss (softmax(logits) - onehot)/count; dx = dlogits weight, "
        "dweight = dlogits^T x",
    .saves = "x, weight, targets, count, lse; on CUDA dx and dweight for dloss = 1",
    .inputs = 3,
    .outputs = 1,
    .differentiable = {0, 1},
    .roles = {InputRole::activation, InputRole::parameter, InputRole::index},
    .backward = cross_entropy_gradient,
};

Tensor linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& targets) {
  const char* op = "linear_cross_entropy";
  require_float(op, "x", x);
  require_float(op, "weight", weight);
  require_like(op, "weight", weight, x);
  require_rank(op, "weight", weight, 2, "[V,D]");
  require_contiguous(op, "weight", weight);
  if (x.shape().rank() == 0 || x.cols() != weight.dim(1)) {
    raise<ShapeError>(op, ": the last axis of x must be ", weight.dim(1), " to match weight ", weight.shape(),
                      ", got x ", x.shape());
  }
  require_targets(op, targets, x.shape().without_last(), weight.dim(0), x);
  const DType sums = accumulation_dtype(x.dtype());
  const bool recording = any_tracked({&x, &weight});
  Tensor loss = Tensor::empty({1}, sums, x.device());
  if (x.device().is_cuda()) {
    const Tensor none;
    const Tensor dx = recording && tracked(x) ? Tensor::empty(x.shape(), x.dtype(), x.device()) : none;
    const Tensor dweight = recording && tracked(weight) ? Tensor::empty(weight.shape(), sums, x.device()) : none;
    MIXGRAD_DISPATCH(x.device(), linear_cross_entropy_fused, x, weight, targets, loss, dx, dweight);
    if (recording) {
      record(linear_cross_entropy_spec, {&x, &weight, &targets}, {&loss},
             {&none, &none, &none, &none, &none, &dx, &dweight});
    }
    return loss;
  }
  const Tensor count = Tensor::empty({1}, DType::i32, x.device());
  const Tensor lse = Tensor::empty({x.rows()}, sums, x.device());
  MIXGRAD_DISPATCH(x.device(), linear_cross_entropy_forward, x, weight, targets, count, lse, loss);
  if (recording) {
    record(linear_cross_entropy_spec, {&x, &weight, &targets}, {&loss}, {&x, &weight, &targets, &count, &lse});
  }
  return loss;
}

}  // namespace mixgrad
