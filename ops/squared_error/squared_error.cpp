#include "ops/squared_error/squared_error.h"

#include "autograd/tape.h"
#include "ops/operators.h"
#include "ops/squared_error/squared_error_kernels.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

constexpr const char* kOp = "squared_error";

void gradient(BackwardContext& context) {
  const Tensor& x = context.saved(0);
  const GradTarget dx = context.gradient(0, x.shape());
  const GradTarget dtarget = context.gradient(1, x.shape());
  MIXGRAD_DISPATCH(x.device(), squared_error_backward, x, context.saved(1), context.output_gradient(), dx, dtarget);
}

}  // namespace

const OpSpec squared_error_spec{
    .name = kOp,
    .formula = "loss = 1/n sum_i (x_i - target_i)^2",
    .gradient = "dx_i = dloss 2/n (x_i - target_i), dtarget = -dx",
    .saves = "x, target",
    .inputs = 2,
    .outputs = 1,
    .differentiable = {0, 1},
    .roles = {InputRole::activation, InputRole::activation},
    .backward = gradient,
};

Tensor squared_error(const Tensor& x, const Tensor& target) {
  require_float(kOp, "x", x);
  require_same(kOp, "target", target, x);
  if (x.numel() == 0) raise<ShapeError>(kOp, ": x must have at least one element, got ", x.shape());
  Tensor loss = Tensor::empty({1}, accumulation_dtype(x.dtype()), x.device());
  MIXGRAD_DISPATCH(x.device(), squared_error_forward, x, target, loss);
  if (any_tracked({&x, &target})) record(squared_error_spec, {&x, &target}, {&loss}, {&x, &target});
  return loss;
}

}  // namespace mixgrad
