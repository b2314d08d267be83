// dropout: elements left out at random, the others divided by 1 - p.
//   y_i = m_i x_i / (1 - p),   m_i = 0 with probability p, else 1; i counts the elements of x row by row
//   x: any shape, float; a row view is read in place    y: the same shape
//   gradient: dx_i = m_i dy_i / (1 - p)                 saves nothing: the mask is computed again
//   The mask is a function of seed, step, micro-batch, place and i (core/numeric/dropout_mask.h), so it is the same on
//   every device and for any number of threads. What is left out is 0, also where x is not finite.
//   A mask that is not active gives x itself.
//   cost: one pass, and a quarter of a Philox call for each element
//   errors: DTypeError for integers; ValueError for a place beyond those of a mask
//   source: Srivastava et al. (2014); the counter-based mask is ours
#pragma once

#include "core/numeric/dropout_mask.h"
#include "core/tensor.h"

namespace mixgrad {

Tensor dropout(const Tensor& x, const DropoutMask& mask);

}  // namespace mixgrad
