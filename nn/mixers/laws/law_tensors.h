// Tensors for the laws of mixers: parts of sequences and comparison.
#pragma once

#include <vector>

#include "core/tensor.h"

namespace mixgrad {

// Of the largest value, where a law allows for rounding.
double law_tolerance(DType dtype, Device device);

double largest_value(const Tensor& x);  // largest |x|

// The sequences of a batch in this order, or some of them.
Tensor pick_sequences(const Tensor& x, const std::vector<std::int64_t>& order);

}  // namespace mixgrad
