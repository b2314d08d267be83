#include "ops/elementwise/elementwise.h"

#include "autograd/tape.h"
#include "ops/elementwise/elementwise_kernels.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

struct NoAttributes {};

template <Activation kind>
void activation_gradient(BackwardContext& context) {
  const Tensor& x = context.saved(0);
  const GradTarget dx = context.gradient(0, x.shape());
  MIXGRAD_DISPATCH(x.device(), activation_backward, kind, x, context.output_gradient(), dx);
}

Tensor activation(const OpSpec& spec, Activation kind, const Tensor& x) {
  require_float(spec.name, "x", x);
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  MIXGRAD_DISPATCH(x.device(), activation_forward, kind, x, y);
  if (any_tracked({&x})) record(spec, {&x}, {&y}, {&x}, NoAttributes{});
  return y;
}

void swiglu_gradient(BackwardContext& context) {
  const Tensor& gate = context.saved(0);
  const Tensor& up = context.saved(1);
  GradTarget dgate;
  GradTarget dup;
  if (context.wants(0)) dgate = context.gradient(0, gate.shape());
  if (context.wants(1)) dup = context.gradient(1, up.shape());
  MIXGRAD_DISPATCH(gate.device(), swiglu_backward, gate, up, context.output_gradient(), dgate, dup);
}

void add_gradient(BackwardContext& context) {
  context.pass(0, context.output_gradient());
  context.pass(1, context.output_gradient());
}

}  // namespace

const OpSpec gelu_spec{OpId::gelu,
                       "gelu",
                       "y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))",
                       "dx = dy y'(x)",
                       "x",
                       1,
                       1,
                       0b1,
                       activation_gradient<Activation::gelu>};
const OpSpec gelu_erf_spec{OpId::gelu_erf,
                           "gelu_erf",
                           "y = x/2 (1 + erf(x / sqrt 2))",
                           "dx = dy y'(x)",
                           "x",
                           1,
                           1,
                           0b1,
                           activation_gradient<Activation::gelu_erf>};
const OpSpec relu_spec{
    OpId::relu, "relu", "y = max(x, 0)", "dx = dy [x > 0]", "x", 1, 1, 0b1, activation_gradient<Activation::relu>};
const OpSpec silu_spec{OpId::silu,
                       "silu",
                       "y = x sigmoid(x)",
                       "dx = dy s (1 + x (1 - s)), s = sigmoid(x)",
                       "x",
                       1,
                       1,
                       0b1,
                       activation_gradient<Activation::silu>};
const OpSpec swiglu_spec{OpId::swiglu,
                         "swiglu",
                         "y = silu(gate) up",
                         "dgate = dy up silu'(gate), dup = dy silu(gate)",
                         "gate, up",
                         2,
                         1,
                         0b11,
                         swiglu_gradient};
const OpSpec add_spec{OpId::add, "add", "y = a + b", "da = dy, db = dy", "nothing", 2, 1, 0b11, add_gradient};

Tensor gelu(const Tensor& x) { return activation(gelu_spec, Activation::gelu, x); }
Tensor gelu_erf(const Tensor& x) { return activation(gelu_erf_spec, Activation::gelu_erf, x); }
Tensor relu(const Tensor& x) { return activation(relu_spec, Activation::relu, x); }
Tensor silu(const Tensor& x) { return activation(silu_spec, Activation::silu, x); }

Tensor swiglu(const Tensor& gate, const Tensor& up) {
  require_float("swiglu", "gate", gate);
  require_float("swiglu", "up", up);
  require_like("swiglu", "up", up, gate);
  require_shape("swiglu", "up", up, gate.shape());
  Tensor y = Tensor::empty(gate.shape(), gate.dtype(), gate.device());
  MIXGRAD_DISPATCH(gate.device(), swiglu_forward, gate, up, y);
  if (any_tracked({&gate, &up})) record(swiglu_spec, {&gate, &up}, {&y}, {&gate, &up}, NoAttributes{});
  return y;
}

Tensor add(const Tensor& a, const Tensor& b) {
  require_float("add", "a", a);
  require_float("add", "b", b);
  require_like("add", "b", b, a);
  require_shape("add", "b", b, a.shape());
  Tensor y = Tensor::empty(a.shape(), a.dtype(), a.device());
  MIXGRAD_DISPATCH(a.device(), add_forward, a, b, y);
  if (any_tracked({&a, &b})) record(add_spec, {&a, &b}, {&y}, {}, NoAttributes{});
  return y;
}

}  // namespace mixgrad
