// squared_error: the mean squared difference of two tensors.
//   loss = 1/n sum_i (x_i - target_i)^2,  n = the number of elements
//   x, target: any shape, float, of one type and shape   loss: [1], f32 (f64 for f64)
//   gradient: dx_i = dloss 2/n (x_i - target_i), dtarget = -dx
//   saves x, target;  cost: one pass forward, one backward
//   errors: ShapeError
//
//   const Tensor loss = squared_error(student, teacher);
#pragma once

#include "core/tensor.h"

namespace mixgrad {

Tensor squared_error(const Tensor& x, const Tensor& target);

}  // namespace mixgrad
