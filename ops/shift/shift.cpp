#include "ops/shift/shift.h"

#include <algorithm>
#include <limits>

#include "autograd/tape.h"
#include "core/dispatch/constant_table.h"
#include "ops/operators.h"
#include "ops/shift/shift_check.h"
#include "ops/shift/shift_kernels.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

struct ShiftAttributes {
  Boundary boundary;
};

void shift_gradient(BackwardContext& context) {
  const Tensor& dz = context.output_gradient();
  const GradTarget dx = context.gradient(0, dz.shape());
  MIXGRAD_DISPATCH(dz.device(), shift_backward, dz, context.saved(0), context.attributes<ShiftAttributes>().boundary,
                   dx);
}

}  // namespace

const OpSpec shift_spec{
    .name = "shift",
    .formula = "z_t = x_{t-s}, s per head; before the start 0 or x_t",
    .gradient = "dx_t = dz_{t+s} (+ dz_t where z_t = x_t)",
    .saves = "shifts",
    .inputs = 1,
    .outputs = 1,
    .differentiable = {0},
    .roles = {InputRole::activation},
    .cached = "shift_cached",
    .backward = shift_gradient,
};

std::int64_t ring_elements(std::int64_t width, std::span<const std::int64_t> shifts) {
  std::int64_t total = 0;
  for (const std::int64_t shift : shifts) total += shift;
  return total * (width / static_cast<std::int64_t>(shifts.size()));
}

Tensor checked_shifts(const char* op, const Tensor& x, const ShiftOptions& options) {
  require_float(op, "x", x);
  require_rank(op, "x", x, 3, "[B,T,D]");
  const auto heads = static_cast<std::int64_t>(options.shifts.size());
  if (heads < 1) raise<ShapeError>(op, ": at least one head (one shift each) is required, got no shifts");
  if (x.cols() % heads != 0 || x.cols() == 0) {
    raise<ShapeError>(op, ": the last axis of x must be a multiple of the ", heads, " heads (one shift each), got x ",
                      x.shape());
  }
  Tensor shifts = Tensor::empty({heads}, DType::i32);
  for (std::int64_t h = 0; h < heads; ++h) {
    const std::int64_t shift = options.shifts[static_cast<std::size_t>(h)];
    if (shift < 1) raise<ValueError>(op, ": shifts must be at least 1, got ", shift, " for head ", h);
    shifts.data<std::int32_t>()[h] =
        static_cast<std::int32_t>(std::min<std::int64_t>(shift, std::numeric_limits<std::int32_t>::max()));
  }
  return constant_table(shifts, x.device());
}

void check_ring(const char* op, const Tensor& x, const Tensor& ring, TokenPosition position,
                const ShiftOptions& options) {
  require_shape(op, "ring", ring, {x.dim(0), ring_elements(x.cols(), options.shifts)});
  require_like(op, "ring", ring, x);
  require_position(op, "position", position, x);
}

Tensor shift(const Tensor& x, const ShiftOptions& options) {
  const Tensor shifts = checked_shifts("shift", x, options);
  Tensor z = Tensor::empty(x.shape(), x.dtype(), x.device());
  MIXGRAD_DISPATCH(x.device(), shift_forward, x, shifts, options.boundary, z);
  if (any_tracked({&x})) record(shift_spec, {&x}, {&z}, {&shifts}, ShiftAttributes{options.boundary});
  return z;
}

Tensor shift_cached(const Tensor& x, const Tensor& ring, TokenPosition position, const ShiftOptions& options) {
  require_untracked("shift_cached", "x", x);
  const Tensor shifts = checked_shifts("shift_cached", x, options);
  check_ring("shift_cached", x, ring, position, options);
  Tensor z = Tensor::empty(x.shape(), x.dtype(), x.device());
  MIXGRAD_DISPATCH(x.device(), shift_ring, x, shifts, options.boundary, ring, position, z);
  return z;
}

}  // namespace mixgrad
