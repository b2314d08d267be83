#include "ops/gate_blend/gate_blend.h"

#include "autograd/tape.h"
#include "ops/gate_blend/gate_blend_kernels.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

constexpr const char* kOp = "gate_blend";

struct NoAttributes {};

void gate_blend_gradient(BackwardContext& context) {
  const Tensor& gate = context.saved(0);
  GradTarget targets[3];
  for (int i = 0; i < 3; ++i) {
    if (context.wants(i)) targets[i] = context.gradient(i, gate.shape());
  }
  MIXGRAD_DISPATCH(gate.device(), gate_blend_backward, gate, context.saved(1), context.saved(2),
                   context.output_gradient(), targets[0], targets[1], targets[2]);
}

}  // namespace

const OpSpec gate_blend_spec{OpId::gate_blend,
                             kOp,
                             "y = g u + (1 - g) z, g = sigmoid(gate)",
                             "dgate = dy (u - z) g (1 - g), du = dy g, dz = dy (1 - g)",
                             "gate, u, z",
                             3,
                             1,
                             0b111,
                             gate_blend_gradient};

Tensor gate_blend(const Tensor& gate, const Tensor& u, const Tensor& z) {
  require_float(kOp, "gate", gate);
  require_float(kOp, "u", u);
  require_float(kOp, "z", z);
  require_like(kOp, "u", u, gate);
  require_like(kOp, "z", z, gate);
  require_shape(kOp, "u", u, gate.shape());
  require_shape(kOp, "z", z, gate.shape());
  Tensor y = Tensor::empty(gate.shape(), gate.dtype(), gate.device());
  MIXGRAD_DISPATCH(gate.device(), gate_blend_forward, gate, u, z, y);
  if (any_tracked({&gate, &u, &z})) record(gate_blend_spec, {&gate, &u, &z}, {&y}, {&gate, &u, &z}, NoAttributes{});
  return y;
}

}  // namespace mixgrad
