// How far a computed tensor is from its reference, and how far it may be.
#pragma once

#include "core/tensor.h"
#include "nn/mixers/mixer.h"

namespace mixgrad {

struct Tolerance {
  double logits, loss, grad, step_losses, after;
};

// In bf16 what comes after AdamW steps has no tolerance: where a gradient is smaller than its rounding, a step of the
// full learning rate goes either way. The step losses are still reported, the parameters are not compared.
Tolerance tolerance_for(DType precision);

// Sums of squares, of the differences and of the reference: for errors in the Frobenius norm.
struct Squares {
  double difference = 0, reference = 0;

  void add(const Tensor& computed, const Tensor& wanted);
  double error() const;  // infinite when a value is not finite
};

// Largest |x - reference| over max |reference|; the absolute error when the reference is all zero. Rows of the first
// axis in `skipped` are not compared.
double relative_error(const Tensor& computed, const Tensor& reference, RowRange skipped = {});

// Of one tensor: relative_error, in bf16 the error of the Frobenius norm.
double tensor_error(const Tensor& computed, const Tensor& reference, DType precision);

}  // namespace mixgrad
