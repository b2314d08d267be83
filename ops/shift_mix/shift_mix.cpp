#include "ops/shift_mix/shift_mix.h"

#include "autograd/tape.h"
#include "ops/operators.h"
#include "ops/shift/shift_check.h"
#include "ops/shift_mix/shift_mix_kernels.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

constexpr const char* kOp = "shift_mix";

struct ShiftAttributes {
  Boundary boundary;
};

void shift_mix_gradient(BackwardContext& context) {
  const Tensor& x = context.saved(0);
  const Tensor& a = context.saved(1);
  const Tensor& b = context.saved(2);
  const GradTarget dx = context.gradient(0, x.shape());
  const GradTarget da = context.gradient(1, a.shape());
  const GradTarget db = context.gradient(2, b.shape());
  MIXGRAD_DISPATCH(x.device(), shift_mix_backward, x, a, b, context.saved(3),
                   context.attributes<ShiftAttributes>().boundary, context.output_gradient(), dx, da, db);
}

// Checks the call and returns the shifts as a tensor, [H] i32.
Tensor check(const Tensor& x, const Tensor& a, const Tensor& b, const ShiftOptions& options) {
  const Tensor shifts = checked_shifts(kOp, x, options);
  require_float(kOp, "a", a);
  require_float(kOp, "b", b);
  require_like(kOp, "a", a, x);
  require_like(kOp, "b", b, x);
  const std::int64_t heads = shifts.numel();
  const bool fits = a.shape() == Shape{heads} || a.shape() == Shape{x.cols()};
  if (!fits || !(b.shape() == a.shape())) {
    raise<ShapeError>(kOp, ": a and b must both be [", heads, "] (one per head) or [", x.cols(),
                      "] (one per channel) to match x ", x.shape(), ", got a ", a.shape(), ", b ", b.shape());
  }
  return shifts;
}

}  // namespace

const OpSpec shift_mix_spec{
    .name = kOp,
    .formula = "y_t = a x_t + b z_t, z_t = x_{t-s}, s per head",
    .gradient = "dx_t = a dy_t + b dy_{t+s}, da = sum dy x, db = sum dy z",
    .saves = "x, a, b, shifts",
    .inputs = 3,
    .outputs = 1,
    .differentiable = {0, 1, 2},
    .roles = {InputRole::activation, InputRole::parameter, InputRole::parameter},
    .cached = "shift_mix_cached",
    .backward = shift_mix_gradient,
};

Tensor shift_mix(const Tensor& x, const Tensor& a, const Tensor& b, const ShiftOptions& options) {
  const Tensor shifts = check(x, a, b, options);
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  MIXGRAD_DISPATCH(x.device(), shift_mix_forward, x, a, b, shifts, options.boundary, y);
  if (any_tracked({&x, &a, &b})) {
    record(shift_mix_spec, {&x, &a, &b}, {&y}, {&x, &a, &b, &shifts}, ShiftAttributes{options.boundary});
  }
  return y;
}

Tensor shift_mix_cached(const Tensor& x, const Tensor& a, const Tensor& b, const Tensor& ring, TokenPosition position,
                        const ShiftOptions& options) {
  require_untracked("shift_mix_cached", "x", x);
  require_untracked("shift_mix_cached", "a", a);
  require_untracked("shift_mix_cached", "b", b);
  const Tensor shifts = check(x, a, b, options);
  check_ring("shift_mix_cached", x, ring, position, options);
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  MIXGRAD_DISPATCH(x.device(), shift_mix_ring, x, a, b, shifts, options.boundary, ring, position, y);
  return y;
}

std::optional<SumAndResult> normed_shift_mix_cached(const Tensor& x, const Tensor& y, const RowNorm& norm,
                                                    const Tensor& a, const Tensor& b, const Tensor& ring,
                                                    TokenPosition position, const ShiftOptions& options) {
  constexpr const char* kNormed = "normed_shift_mix_cached";
  require_float(kNormed, "x", x);
  require_rank(kNormed, "x", x, 3, "[B,1,D]");
  if (y.defined()) require_shape(kNormed, "y", y, x.shape());
  require_shape(kNormed, "the norm's weight", norm.weight, {x.cols()});
  if (norm.bias.defined()) require_shape(kNormed, "the norm's bias", norm.bias, {x.cols()});
  if constexpr (MIXGRAD_FOLDER_HAS_CUDA) {
    const bool is_tracked = any_tracked({&x, &y, &norm.weight, &norm.bias, &a, &b});
    if (x.device().is_cuda() && x.dim(1) == 1 && !context().check_devices && !is_tracked) {
      SumAndResult made{.sum = x, .result = Tensor::empty(x.shape(), a.dtype(), x.device())};
      const Tensor shifts = check(made.result, a, b, options);
      check_ring(kNormed, made.result, ring, position, options);
      if (y.defined()) made.sum = Tensor::empty(x.shape(), x.dtype(), x.device());
      if (cuda::normed_shift_mix_ring(x, y, norm, a, b, shifts, options.boundary, ring, position, made)) return made;
    }
  }
  return std::nullopt;
}

}  // namespace mixgrad
