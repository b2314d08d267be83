#include "ops/rope/rope.h"

#include "autograd/tape.h"
#include "ops/operators.h"
#include "ops/rope/rope_kernels.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

void rope_gradient(BackwardContext& context) {
  const Tensor& dy = context.output_gradient();
  const GradTarget dx = context.gradient(0, dy.shape());
  MIXGRAD_DISPATCH(dy.device(), rope_rotate, dy, context.attributes<RopeOptions>(), true, dx);
}

}  // namespace

const OpSpec rope_spec{
    .name = "rope",
    .formula = "pair (i, i+dh/2) turns by (first_position + floor(t/rows_per_position)) theta^(-2i/dh)",
    .gradient = "dx = dy turned back",
    .saves = "nothing",
    .inputs = 1,
    .outputs = 1,
    .differentiable = {0},
    .roles = {InputRole::activation},
    .cached = "rope",
    .backward = rope_gradient,
};

Tensor rope(const Tensor& x, const RopeOptions& options) {
  require_float("rope", "x", x);
  require_rank("rope", "x", x, 3, "[B,T,W]");
  if (options.head_dim < 2 || options.head_dim % 2 != 0) {
    raise<ShapeError>("rope: head_dim must be even and at least 2, got ", options.head_dim);
  }
  if (options.heads < 1) raise<ShapeError>("rope: heads must be at least 1, got ", options.heads);
  if (options.heads * options.head_dim > x.cols()) {
    raise<ShapeError>("rope: ", options.heads, " heads of width ", options.head_dim,
                      " must fit into the last axis of x, got x ", x.shape());
  }
  if (!(options.theta > 0)) raise<ValueError>("rope: theta must be above 0, got ", options.theta);
  require_position("rope", "first_position", options.first_position, x);
  if (options.rows_per_position < 1 || x.dim(1) % options.rows_per_position != 0) {
    raise<ShapeError>("rope: the rows of x must be a multiple of rows_per_position, which is at least 1, got x ",
                      x.shape(), " and ", options.rows_per_position);
  }
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  MIXGRAD_DISPATCH(x.device(), rope_rotate, x, options, false, GradTarget{y, false});
  if (any_tracked({&x})) record(rope_spec, {&x}, {&y}, {}, options);
  return y;
}

}  // namespace mixgrad
