#include "ops/linear/linear.h"

#include <algorithm>
#include <vector>

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

std::optional<SumAndResult> normed_linear(const Tensor& x, const Tensor& y, const RowNorm& norm,
                                          const NormedLinear& product) {
  const char* op = "normed_linear";
  require_float(op, "x", x);
  require_rank(op, "weight", product.weight, 2, "[N,K]");
  require_device(op, "weight", product.weight, x.device());
  const Shape outputs{product.weight.dim(0)};
  if (x.shape().rank() == 0 || x.cols() != product.weight.dim(1)) {
    raise<ShapeError>(op, ": the last axis of x must be ", product.weight.dim(1), " to match weight ",
                      product.weight.shape(), ", got x ", x.shape());
  }
  if (y.defined()) require_shape(op, "y", y, x.shape());
  require_shape(op, "the norm's weight", norm.weight, {x.cols()});
  if (norm.bias.defined()) require_shape(op, "the norm's bias", norm.bias, {x.cols()});
  if (product.bias.defined()) require_shape(op, "bias", product.bias, outputs);
  if (product.after == AfterLinear::swiglu) {
    require_like(op, "gate_weight", product.gate_weight, product.weight);
    require_shape(op, "gate_weight", product.gate_weight, product.weight.shape());
    if (product.gate_bias.defined()) require_shape(op, "gate_bias", product.gate_bias, outputs);
  }
  if (product.more_weight.defined()) {
    require_like(op, "more_weight", product.more_weight, product.weight);
    require_shape(op, "more_weight", product.more_weight, {product.more_weight.rows(), x.cols()});
  }
  if constexpr (MIXGRAD_FOLDER_HAS_CUDA) {
    const bool is_tracked = any_tracked({&x, &y, &norm.weight, &norm.bias, &product.weight, &product.bias,
                                         &product.gate_weight, &product.gate_bias, &product.more_weight});
    SumAndResult made;
    if (x.device().is_cuda() && !context().check_devices && !is_tracked &&
        cuda::normed_linear_forward(x, y, norm, product, made.sum, made.result)) {
      return made;
    }
  }
  return std::nullopt;
}

std::optional<Tensor> heads_linear(std::span<const Tensor> parts, std::span<const std::int64_t> slots,
                                   std::int64_t head_dim, const Tensor& weight, const Tensor& bias) {
  const char* op = "heads_linear";
  require_rank(op, "weight", weight, 2, "[N,K]");
  if (parts.empty()) raise<ShapeError>(op, ": at least one part is required, got none");
  std::int64_t heads = 0;
  bool is_tracked = any_tracked({&weight, &bias});
  for (const Tensor& part : parts) {
    require_float(op, "each part", part);
    require_like(op, "each part", part, weight);
    if (part.shape().rank() < 3 || part.dim(0) != parts.front().dim(0) || part.dim(1) != 1 || head_dim < 1 ||
        part.numel() % (std::max<std::int64_t>(part.dim(0), 1) * head_dim) != 0) {
      raise<ShapeError>(op, ": each part must be [B,1,heads of width ", head_dim, "] with one B, got ", part.shape());
    }
    if (part.dim(0) > 0) heads += part.numel() / part.dim(0) / head_dim;
    is_tracked = is_tracked || any_tracked({&part});
  }
  std::vector<bool> taken(slots.size());
  for (const std::int64_t slot : slots) {
    if (slot < 0 || slot >= static_cast<std::int64_t>(slots.size()) || taken[static_cast<std::size_t>(slot)]) {
      raise<ValueError>(op, ": the slots must be a permutation of 0 ... ", slots.size(), " - 1, got ", slot);
    }
    taken[static_cast<std::size_t>(slot)] = true;
  }
  if (heads != static_cast<std::int64_t>(slots.size()) || heads * head_dim != weight.dim(1)) {
    raise<ShapeError>(op, ": ", slots.size(), " slots of width ", head_dim, " must hold the ", heads,
                      " heads of the parts and match weight ", weight.shape());
  }
  if (bias.defined()) require_shape(op, "bias", bias, {weight.dim(0)});
  if constexpr (MIXGRAD_FOLDER_HAS_CUDA) {
    Tensor result;
    if (weight.device().is_cuda() && !context().check_devices && !is_tracked &&
        cuda::heads_linear_forward(parts, slots, head_dim, weight, bias, result)) {
      return result;
    }
  }
  return std::nullopt;
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
