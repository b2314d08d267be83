// What layer_norm and rms_norm share, with the forms that add first: sum = x + y, normed = norm(sum).
#pragma once

#include "autograd/tape.h"
#include "core/rows.h"
#include "ops/check.h"

namespace mixgrad {

struct NormAttributes {
  double eps;
};

inline void check_norm(const char* op, const Tensor& x, const Tensor& weight, double eps) {
  require_float(op, "x", x);
  require_float(op, "weight", weight);
  require_precise(op, "weight", weight, x);
  if (x.shape().rank() == 0 || x.cols() == 0)
    raise<ShapeError>(op, ": x needs a last axis of at least 1, got ", x.shape());
  require_shape(op, "weight", weight, {x.cols()});
  if (!(eps > 0)) raise<ValueError>(op, ": eps must be above 0, got ", eps);
}

inline void check_addend(const char* op, const Tensor& y, const Tensor& x) {
  require_float(op, "y", y);
  require_like(op, "y", y, x);
  require_shape(op, "y", y, x.shape());
}

inline DType statistics_dtype(const Tensor& x) { return x.dtype() == DType::f64 ? DType::f64 : DType::f32; }

// The gradient of norm(x): `gradient(first_parameter, dnormed, dsum, d)` computes d (+)= dsum + norm'(dnormed).
template <class Gradient>
void norm_alone_gradient(BackwardContext& context, const Gradient& gradient) {
  GradTarget dx;
  if (context.wants(0)) dx = context.gradient(0, context.saved(0).shape());
  gradient(1, context.output_gradient(), Tensor(), dx);
}

// The gradient of sum = x + y, normed = norm(sum), where `sum` is saved first: the same for x and y.
template <class Gradient>
void add_norm_gradient(BackwardContext& context, const Gradient& gradient) {
  const Tensor& dsum = context.output_gradient(0);
  const Tensor& dnormed = context.output_gradient(1);
  if (!dnormed.defined()) {
    context.pass(0, dsum);
    context.pass(1, dsum);
    return;
  }
  const Tensor& sum = context.saved(0);
  const Tensor d = Tensor::empty(sum.shape(), sum.dtype(), sum.device());
  gradient(2, dnormed, dsum, {d, false});
  context.pass(0, d);
  context.pass(1, d);
}

// Row r of what is normed: of x, or where there is an addend y, of sum = x + y, of which this writes the elements
// begin, begin + step, ... On CUDA each thread later reads only what it has written itself.
template <class T>
MIXGRAD_HD const T* row_to_norm(const Rows<T>& x, const Rows<T>& y, const Rows<T>& sum, std::int64_t r,
                                std::int64_t begin, std::int64_t step) {
  using A = acc_t<T>;
  const T* row = x[r];
  if (!y) return row;
  const T* other = y[r];
  T* to = sum[r];
  for (std::int64_t c = begin; c < x.width; c += step) to[c] = static_cast<T>(A(row[c]) + A(other[c]));
  return to;
}

}  // namespace mixgrad
