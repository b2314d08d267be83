#include "ops/head_linear/head_linear.h"

#include "autograd/tape.h"
#include "ops/head_linear/head_linear_kernels.h"
#include "ops/operators.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

constexpr const char* kOp = "head_linear";

struct HeadLinearAttributes {
  Shape bias;
};

void head_linear_gradient(BackwardContext& context) {
  const Tensor& dy = context.output_gradient();
  for (const int first : {0, 2}) {  // x and weight, z and z_weight
    const Tensor& x = context.saved(first);
    const Tensor& weight = context.saved(first + 1);
    const GradTarget dx = context.gradient(first, x.shape());
    const GradTarget dweight = context.gradient(first + 1, weight.shape());
    if (!dx.tensor.defined() && !dweight.tensor.defined()) continue;
    MIXGRAD_DISPATCH(dy.device(), head_linear_backward, x, weight, dy, dx, dweight);
  }
  if (!context.wants(4)) return;
  const GradTarget dbias = context.gradient(4, context.attributes<HeadLinearAttributes>().bias);
  const std::int64_t width = dbias.tensor.numel();
  MIXGRAD_DISPATCH(dy.device(), head_linear_bias_backward,
                   dy.cols() == width ? dy : dy.reshape({dy.numel() / width, width}), dbias);
}

// [B,T,H,I]: each head of x is a row.
bool is_split(const Tensor& x, const Tensor& weight) {
  return x.shape().rank() == 4 && x.dim(2) == weight.dim(0) && x.cols() == weight.dim(2);
}

void check(const Tensor& x, const Tensor& weight, const Tensor& z, const Tensor& z_weight, const Tensor& bias) {
  require_float(kOp, "x", x);
  require_float(kOp, "weight", weight);
  require_like(kOp, "weight", weight, x);
  require_rank(kOp, "weight", weight, 3, "[H,O,I]");
  const std::int64_t heads = weight.dim(0);
  if (x.shape().rank() == 0 || (x.cols() != heads * weight.dim(2) && !is_split(x, weight))) {
    raise<ShapeError>(kOp, ": the last axis of x must be ", heads * weight.dim(2), " (", heads, " heads of width ",
                      weight.dim(2), ") to match weight ", weight.shape(), ", got x ", x.shape());
  }
  if (z.defined() != z_weight.defined()) {
    raise<ShapeError>(kOp, ": z and z_weight must be given together, got only ", z.defined() ? "z" : "z_weight");
  }
  if (z.defined()) {
    require_like(kOp, "z", z, x);
    require_like(kOp, "z_weight", z_weight, x);
    require_shape(kOp, "z", z, x.shape());
    require_shape(kOp, "z_weight", z_weight, weight.shape());
  }
  if (!bias.defined()) return;
  require_like(kOp, "bias", bias, x);
  require_contiguous(kOp, "bias", bias);
  const std::int64_t out = weight.dim(1);
  if (!(bias.shape() == Shape{heads, out}) && !(bias.shape() == Shape{heads * out})) {
    raise<ShapeError>(kOp, ": bias must be ", Shape{heads, out}, " or ", Shape{heads * out}, ", got ", bias.shape());
  }
}

}  // namespace

const OpSpec head_linear_spec{
    .name = kOp,
    .formula = "y_h = W_h x_h (+ V_h z_h) (+ c_h), h = head",
    .gradient = "dx = W^T dy, dW = dy x^T, dz = V^T dy, dV = dy z^T, dc = sum dy",
    .saves = "x, W, z, V",
    .inputs = 5,
    .outputs = 1,
    .differentiable = {0, 1, 2, 3, 4},
    .roles = {InputRole::activation, InputRole::parameter, InputRole::activation, InputRole::parameter,
              InputRole::parameter},
    .backward = head_linear_gradient,
};

Tensor head_linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return head_linear(x, weight, Tensor(), Tensor(), bias);
}

Tensor head_linear(const Tensor& x, const Tensor& weight, const Tensor& z, const Tensor& z_weight, const Tensor& bias) {
  check(x, weight, z, z_weight, bias);
  const std::int64_t width = is_split(x, weight) ? weight.dim(1) : weight.dim(0) * weight.dim(1);
  Tensor y = Tensor::empty(x.shape().with_last(width), x.dtype(), x.device());
  MIXGRAD_DISPATCH(x.device(), head_linear_forward, x, weight, bias, false, y);
  if (z.defined()) MIXGRAD_DISPATCH(x.device(), head_linear_forward, z, z_weight, Tensor(), true, y);
  if (any_tracked({&x, &weight, &z, &z_weight, &bias})) {
    record(head_linear_spec, {&x, &weight, &z, &z_weight, &bias}, {&y}, {&x, &weight, &z, &z_weight},
           HeadLinearAttributes{bias.shape()});
  }
  return y;
}

}  // namespace mixgrad
