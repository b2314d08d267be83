// Elementwise functions. f and f' of each stand once, in functions.h, for both devices. Those of one input are listed
// in unary.def, which declares and defines them:
//   gelu      y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))       Hendrycks and Gimpel (2016), tanh form
//   gelu_erf  y = x/2 (1 + erf(x / sqrt 2))
//   relu      y = max(x, 0), with gradient 0 at x = 0
//   silu      y = x sigmoid(x)
//   swiglu    y = silu(gate) up                                       Shazeer, GLU Variants (2020)
//   add       y = a + b
//   shapes: all inputs and the output [..., D]; row views are read in place
//   gradient: dx = dy f'(x); swiglu: dgate = dy up silu'(gate), dup = dy silu(gate); add: both are dy
//   saves the inputs (add: nothing)
//   errors: ShapeError when two inputs differ in shape, DTypeError when they differ in dtype
#pragma once

#include "core/tensor.h"

namespace mixgrad {

#define UNARY(name, Function, formula, gradient) Tensor name(const Tensor& x);
#include "ops/elementwise/unary.def"
#undef UNARY
Tensor swiglu(const Tensor& gate, const Tensor& up);
Tensor add(const Tensor& a, const Tensor& b);

}  // namespace mixgrad
