#include "ema.h"

#include "ema_kernels.h"
#include "ops/support/check.h"

namespace ema {
namespace {

using namespace mixgrad;

void gradient(BackwardContext& context) {
  const Tensor& x = context.saved(0);
  const Tensor& gate = context.saved(1);
  const GradTarget dx = context.gradient(0, x.shape());
  const GradTarget dgate = context.gradient(1, gate.shape());
  MIXGRAD_DISPATCH(x.device(), ema_backward, x, gate, context.output_gradient(), dx, dgate);
}

void check(const char* op, const Tensor& x, const Tensor& gate) {
  require_float(op, "x", x);
  require_rank(op, "x", x, 3, "[B,T,C]");
  require_float(op, "gate", gate);
  require_precise(op, "gate", gate, x);
  require_shape(op, "gate", gate, {x.dim(2)});
}

}  // namespace

const OpSpec spec{
    .name = "ema",
    .formula = "y_t = g y_{t-1} + (1 - g) x_t, g = sigmoid(gate)",
    .gradient = "e_t = dy_t + g e_{t+1}, dx_t = (1 - g) e_t, dgate = g (1 - g) sum e_t (y_{t-1} - x_t)",
    .saves = "x, gate",
    .inputs = 2,
    .outputs = 1,
    .differentiable = {0, 1},
    .roles = {InputRole::activation, InputRole::parameter_f32},
    .cached = "ema_cached",
    .backward = gradient,
};

Tensor ema(const Tensor& x, const Tensor& gate) {
  check("ema", x, gate);
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  MIXGRAD_DISPATCH(x.device(), ema_forward, x, gate, Tensor(), y);
  if (any_tracked({&x, &gate})) record(spec, {&x, &gate}, {&y}, {&x, &gate});
  return y;
}

Tensor ema_cached(const Tensor& x, const Tensor& gate, const Tensor& state) {
  require_untracked("ema_cached", "x", x);
  require_untracked("ema_cached", "gate", gate);
  check("ema_cached", x, gate);
  require_float("ema_cached", "state", state);
  require_precise("ema_cached", "state", state, x);
  require_shape("ema_cached", "state", state, {x.dim(0), x.dim(2)});
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  MIXGRAD_DISPATCH(x.device(), ema_forward, x, gate, state, y);
  return y;
}

}  // namespace ema
