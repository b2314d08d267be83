#include "ops/elementwise/elementwise.h"

#include "autograd/tape.h"
#include "ops/elementwise/elementwise_kernels.h"
#include "ops/operators.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

template <UnaryFunction function>
void unary_gradient(BackwardContext& context) {
  const Tensor& x = context.saved(0);
  const GradTarget dx = context.gradient(0, x.shape());
  MIXGRAD_DISPATCH(x.device(), unary_backward, function, x, context.output_gradient(), dx);
}

Tensor unary(const OpSpec& spec, UnaryFunction function, const Tensor& x) {
  require_float(spec.name, "x", x);
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  MIXGRAD_DISPATCH(x.device(), unary_forward, function, x, y);
  if (any_tracked({&x})) record(spec, {&x}, {&y}, {&x});
  return y;
}

void swiglu_gradient(BackwardContext& context) {
  const Tensor& gate = context.saved(0);
  const Tensor& up = context.saved(1);
  const GradTarget dgate = context.gradient(0, gate.shape());
  const GradTarget dup = context.gradient(1, up.shape());
  MIXGRAD_DISPATCH(gate.device(), swiglu_backward, gate, up, context.output_gradient(), dgate, dup);
}

void add_gradient(BackwardContext& context) {
  context.pass(0, context.output_gradient());
  context.pass(1, context.output_gradient());
}

}  // namespace

#define UNARY(function, Function, formula_text, gradient_text)                       \
  const OpSpec function##_spec{.name = #function,                                    \
                               .formula = formula_text,                              \
                               .gradient = gradient_text,                            \
                               .saves = "x",                                         \
                               .inputs = 1,                                          \
                               .outputs = 1,                                         \
                               .differentiable = {0},                                \
                               .roles = {InputRole::activation},                     \
                               .backward = unary_gradient<UnaryFunction::function>}; \
  Tensor function(const Tensor& x) { return unary(function##_spec, UnaryFunction::function, x); }
#include "ops/elementwise/unary.def"
#undef UNARY

const OpSpec swiglu_spec{
    .name = "swiglu",
    .formula = "y = silu(gate) up",
    .gradient = "dgate = dy up silu'(gate), dup = dy silu(gate)",
    .saves = "gate, up",
    .inputs = 2,
    .outputs = 1,
    .differentiable = {0, 1},
    .roles = {InputRole::activation, InputRole::activation},
    .backward = swiglu_gradient,
};
const OpSpec add_spec{
    .name = "add",
    .formula = "y = a + b",
    .gradient = "da = dy, db = dy",
    .saves = "nothing",
    .inputs = 2,
    .outputs = 1,
    .differentiable = {0, 1},
    .roles = {InputRole::activation, InputRole::activation},
    .backward = add_gradient,
};

Tensor swiglu(const Tensor& gate, const Tensor& up) {
  require_float("swiglu", "gate", gate);
  require_float("swiglu", "up", up);
  require_like("swiglu", "up", up, gate);
  require_shape("swiglu", "up", up, gate.shape());
  Tensor y = Tensor::empty(gate.shape(), gate.dtype(), gate.device());
  MIXGRAD_DISPATCH(gate.device(), swiglu_forward, gate, up, y);
  if (any_tracked({&gate, &up})) record(swiglu_spec, {&gate, &up}, {&y}, {&gate, &up});
  return y;
}

Tensor add(const Tensor& a, const Tensor& b) {
  require_float("add", "a", a);
  require_float("add", "b", b);
  require_like("add", "b", b, a);
  require_shape("add", "b", b, a.shape());
  Tensor y = Tensor::empty(a.shape(), a.dtype(), a.device());
  MIXGRAD_DISPATCH(a.device(), add_forward, a, b, y);
  if (any_tracked({&a, &b})) record(add_spec, {&a, &b}, {&y}, {});
  return y;
}

}  // namespace mixgrad
