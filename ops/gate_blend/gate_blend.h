// gate_blend: a channel-wise choice between two inputs, by a gate between 0 and 1.
//   y = g u + (1 - g) z,  g = sigmoid(gate);   computed as z + g (u - z)
//   gate, u, z, y: [..., D] float, row views are read in place
//   gradient: dgate = dy (u - z) g (1 - g),  du = dy g,  dz = dy (1 - g)               saves gate, u and z
//   cost: reads three tensors, writes one; backward reads four and writes three
//   errors: ShapeError when the shapes differ (a gate per channel is not repeated over rows);
//           DTypeError when the dtypes differ
//   with u of ones and z of zeros it is sigmoid(gate)
#pragma once

#include "core/tensor.h"

namespace mixgrad {

Tensor gate_blend(const Tensor& gate, const Tensor& u, const Tensor& z);

}  // namespace mixgrad
