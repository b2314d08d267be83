#include "ops/dropout/dropout.h"

#include "autograd/tape.h"
#include "ops/dropout/dropout_kernels.h"
#include "ops/operators.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

void gradient(BackwardContext& context) {
  const Tensor& dy = context.output_gradient();
  const GradTarget dx = context.gradient(0, dy.shape());
  MIXGRAD_DISPATCH(dy.device(), dropout_apply, dy, context.attributes<DropoutMask>(), dx);
}

}  // namespace

const OpSpec dropout_spec{
    .name = "dropout",
    .formula = "y_i = m_i x_i / (1 - p), m_i = 0 with probability p by (seed, step, place, i), else 1",
    .gradient = "dx_i = m_i dy_i / (1 - p)",
    .saves = "nothing",
    .inputs = 1,
    .outputs = 1,
    .differentiable = {0},
    .roles = {InputRole::activation},
    .backward = gradient,
};

Tensor dropout(const Tensor& x, const DropoutMask& mask) {
  require_float("dropout", "x", x);
  if (mask.place >= DropoutMask::kPlaces) {
    raise<ValueError>("dropout: the place must be below ", DropoutMask::kPlaces, ", got ", mask.place);
  }
  if (!mask.active()) return x;
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  MIXGRAD_DISPATCH(x.device(), dropout_apply, x, mask, GradTarget{y, false});
  if (any_tracked({&x})) record(dropout_spec, {&x}, {&y}, {}, mask);
  return y;
}

}  // namespace mixgrad
