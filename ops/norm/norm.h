// What layer_norm and rms_norm share, with the forms that add first: sum = x + y, normed = norm(sum).
#pragma once

#include <optional>

#include "autograd/tape.h"
#include "core/rows.h"
#include "ops/support/check.h"

namespace mixgrad {

struct NormAttributes {
  double eps;
  bool apart = false;  // y has another dtype than x and the sum
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

// y has the dtype of x, or is bf16 beside an f32 x: a residual stream in f32, of which what is added and the norm are
// bf16.
inline void check_addend(const char* op, const Tensor& y, const Tensor& x) {
  require_float(op, "y", y);
  if (x.dtype() == DType::f32 && y.dtype() == DType::bf16) {
    require_device(op, "y", y, x.device());
  } else {
    require_like(op, "y", y, x);
  }
  require_shape(op, "y", y, x.shape());
}

// The dtype of norm(x): that of x unless `out` says otherwise, which may only be bf16 of an f32 x.
inline DType normed_dtype(const char* op, const Tensor& x, std::optional<DType> out) {
  if (!out || *out == x.dtype() || (x.dtype() == DType::f32 && *out == DType::bf16)) return out.value_or(x.dtype());
  raise<DTypeError>(op, ": the norm of ", dtype_name(x.dtype()), " must be ", dtype_name(x.dtype()),
                    x.dtype() == DType::f32 ? " or bf16" : "", ", got ", dtype_name(*out));
}

// f.operator()<X, T>() with the types of x and of its norm.
template <class F>
void dispatch_norm(const Tensor& x, const Tensor& normed, const char* op, const F& f) {
  if (x.dtype() == DType::f32 && normed.dtype() == DType::bf16) return f.template operator()<float, bf16>();
  dispatch_float(x.dtype(), op, [&]<class T>() { f.template operator()<T, T>(); });
}

inline DType statistics_dtype(const Tensor& x) { return accumulation_dtype(x.dtype()); }

// The gradient of norm(x): `gradient(first_parameter, dnormed, dsum, d, dy)` computes d (+)= dsum + norm'(dnormed), and
// puts the same into dy where that is defined.
template <class Gradient>
void norm_alone_gradient(BackwardContext& context, const Gradient& gradient) {
  const GradTarget dx = context.gradient(0, context.saved(0).shape());
  gradient(1, context.output_gradient(), Tensor(), dx, GradTarget());
}

// The gradient of sum = x + y, normed = norm(sum), where `sum` is saved first: the same for x and y, each in its dtype.
template <class Gradient>
void add_norm_gradient(BackwardContext& context, const Gradient& gradient) {
  const Tensor& dsum = context.output_gradient(0);
  const Tensor& dnormed = context.output_gradient(1);
  const Tensor& sum = context.saved(0);
  const bool apart = context.attributes<NormAttributes>().apart;
  if (!dnormed.defined()) {
    context.pass(0, dsum);
    context.pass(1, apart ? dsum.to(DType::bf16) : dsum);
    return;
  }
  const GradTarget dy = apart ? context.gradient(1, sum.shape()) : GradTarget();
  const Tensor d = Tensor::empty(sum.shape(), sum.dtype(), sum.device());
  gradient(2, dnormed, dsum, {d, false}, dy);
  context.pass(0, d);
  if (!apart) context.pass(1, d);
}

// Row r of what is normed: of x, or where there is an addend y, of sum = x + y, of which this writes the elements
// begin, begin + step, ... On CUDA each thread later reads only what it has written itself.
template <class X, class T>
MIXGRAD_HD const X* row_to_norm(const Rows<X>& x, const Rows<T>& y, const Rows<X>& sum, std::int64_t r,
                                std::int64_t begin, std::int64_t step) {
  using A = acc_t<T>;
  const X* row = x[r];
  if (!y) return row;
  const T* other = y[r];
  X* to = sum[r];
  for (std::int64_t c = begin; c < x.width; c += step) to[c] = static_cast<X>(A(row[c]) + A(other[c]));
  return to;
}

}  // namespace mixgrad
