#include "ops/gate_blend/gate_blend.h"

#include "autograd/tape.h"
#include "ops/gate_blend/gate_blend_kernels.h"
#include "ops/operators.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

constexpr const char* kOp = "gate_blend";

void gate_blend_gradient(BackwardContext& context) {
  const Tensor& gate = context.saved(0);
  const GradTarget dgate = context.gradient(0, gate.shape());
  const GradTarget du = context.gradient(1, gate.shape());
  const GradTarget dz = context.gradient(2, gate.shape());
  MIXGRAD_DISPATCH(gate.device(), gate_blend_backward, gate, context.saved(1), context.saved(2),
                   context.output_gradient(), dgate, du, dz);
}

}  // namespace

const OpSpec gate_blend_spec{
    .name = kOp,
    .formula = "y = g u + (1 - g) z, g = sigmoid(gate)",
    .gradient = "dgate = dy (u - z) g (1 - g), du = dy g, dz = dy (1 - g)",
    .saves = "gate, u, z",
    .inputs = 3,
    .outputs = 1,
    .differentiable = {0, 1, 2},
    .roles = {InputRole::activation, InputRole::activation, InputRole::activation},
    .backward = gate_blend_gradient,
};

Tensor gate_blend(const Tensor& gate, const Tensor& u, const Tensor& z) {
  require_float(kOp, "gate", gate);
  require_same(kOp, "u", u, gate);
  require_same(kOp, "z", z, gate);
  Tensor y = Tensor::empty(gate.shape(), gate.dtype(), gate.device());
  MIXGRAD_DISPATCH(gate.device(), gate_blend_forward, gate, u, z, y);
  if (any_tracked({&gate, &u, &z})) record(gate_blend_spec, {&gate, &u, &z}, {&y}, {&gate, &u, &z});
  return y;
}

}  // namespace mixgrad
