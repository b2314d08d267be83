// The parameters of a norm as a value, for the kernels of decoding steps that begin with one, and what they give back.
#pragma once

#include "core/tensor.h"

namespace mixgrad {

struct RowNorm {
  bool centred = true;  // layer_norm; false: rms_norm
  Tensor weight = {};   // [K], as layer_norm and rms_norm take it
  Tensor bias = {};     // [K] or undefined
  double eps = 1e-5;
};

struct SumAndResult {
  Tensor sum, result;
};

}  // namespace mixgrad
