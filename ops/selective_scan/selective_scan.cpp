#include "ops/selective_scan/selective_scan.h"

#include "autograd/tape.h"
#include "ops/operators.h"
#include "ops/selective_scan/selective_scan_kernels.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

constexpr const char* kOp = "selective_scan";

struct ScanAttributes {
  ScanImplementation implementation;
};

void selective_scan_gradient(BackwardContext& context) {
  const ScanInputs in{context.saved(0), context.saved(1), context.saved(2),
                      context.saved(3), context.saved(4), context.saved(5)};
  const ScanTargets out{.x = context.gradient(0, in.x.shape()),
                        .dt = context.gradient(1, in.dt.shape()),
                        .a_log = context.gradient(2, in.a_log.shape()),
                        .b = context.gradient(3, in.b.shape()),
                        .c = context.gradient(4, in.c.shape()),
                        .d = context.gradient(5, in.d.shape())};
  MIXGRAD_DISPATCH(in.x.device(), selective_scan_backward, in, context.attributes<ScanAttributes>().implementation,
                   context.saved(6), context.output_gradient(), out);
}

void check(const ScanInputs& in) {
  require_float(kOp, "x", in.x);
  require_rank(kOp, "x", in.x, 4, "[B,T,R,C]");
  const auto like = [&](const char* name, const Tensor& tensor) {
    require_float(kOp, name, tensor);
    require_like(kOp, name, tensor, in.x);
  };
  like("dt", in.dt);
  like("a_log", in.a_log);
  like("b", in.b);
  like("c", in.c);
  like("d", in.d);
  const Shape& x = in.x.shape();
  if (x.numel() == 0) raise<ShapeError>(kOp, ": x must have at least one element, got ", x);
  require_shape(kOp, "dt", in.dt, x);
  require_rank(kOp, "a_log", in.a_log, 3, "[R,C,N]");
  const std::int64_t states = in.a_log.dim(2);
  if (states < 1)
    raise<ShapeError>(kOp, ": a_log must have at least one state (its last axis), got ", in.a_log.shape());
  require_shape(kOp, "a_log", in.a_log, {x[2], x[3], states});
  require_shape(kOp, "b", in.b, x.with_last(states));
  require_shape(kOp, "c", in.c, x.with_last(states));
  require_shape(kOp, "d", in.d, {x[2], x[3]});
  require_contiguous(kOp, "a_log", in.a_log);
  require_contiguous(kOp, "d", in.d);
}

DType state_dtype(const Tensor& x) { return accumulation_dtype(x.dtype()); }

}  // namespace

const OpSpec selective_scan_spec{
    .name = kOp,
    .formula = "s_t = exp(step A) s_{t-1} + step x B, y_t = sum_n C s_t + D x, step = softplus(dt), A = -exp(a_log)",
    .gradient =
        "L_t = dy C + a_{t+1} L_{t+1}; dx = D dy + step sum_n L B, ddt = softplus' sum_n L (B x + A a s), "
        "da_log = A sum L step a s, dB = sum_c L step x, dC = sum_c dy s, dD = sum dy x",
    .saves = "inputs, every 16th state",
    .inputs = 6,
    .outputs = 1,
    .differentiable = {0, 1, 2, 3, 4, 5},
    .roles = {InputRole::activation, InputRole::activation, InputRole::parameter, InputRole::activation,
              InputRole::activation, InputRole::parameter},
    .cached = "selective_scan_cached",
    .backward = selective_scan_gradient,
};

Tensor selective_scan(const Tensor& x, const Tensor& dt, const Tensor& a_log, const Tensor& b, const Tensor& c,
                      const Tensor& d, ScanImplementation implementation) {
  const ScanInputs in{x, dt, a_log, b, c, d};
  check(in);
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  const bool recorded = any_tracked({&x, &dt, &a_log, &b, &c, &d});
  Tensor saved;
  if (recorded) {
    const std::int64_t chunks = (x.dim(1) + kScanChunk - 1) / kScanChunk;
    saved = Tensor::empty({x.dim(0), chunks, x.dim(2), a_log.dim(2), x.dim(3)}, state_dtype(x), x.device());
  }
  MIXGRAD_DISPATCH(x.device(), selective_scan_forward, in, implementation, Tensor(), saved, y);
  if (recorded) {
    record(selective_scan_spec, {&x, &dt, &a_log, &b, &c, &d}, {&y}, {&x, &dt, &a_log, &b, &c, &d, &saved},
           ScanAttributes{implementation});
  }
  return y;
}

Tensor selective_scan_cached(const Tensor& x, const Tensor& dt, const Tensor& a_log, const Tensor& b, const Tensor& c,
                             const Tensor& d, const Tensor& state, ScanImplementation implementation) {
  require_untracked("selective_scan_cached", "x", x);
  require_untracked("selective_scan_cached", "dt", dt);
  require_untracked("selective_scan_cached", "a_log", a_log);
  require_untracked("selective_scan_cached", "b", b);
  require_untracked("selective_scan_cached", "c", c);
  require_untracked("selective_scan_cached", "d", d);
  const ScanInputs in{x, dt, a_log, b, c, d};
  check(in);
  require_float("selective_scan_cached", "state", state);
  require_shape("selective_scan_cached", "state", state, {x.dim(0), x.dim(2), a_log.dim(2), x.dim(3)});
  require_contiguous("selective_scan_cached", "state", state);
  if (state.dtype() != state_dtype(x)) {
    raise<DTypeError>("selective_scan_cached: state must be ", dtype_name(state_dtype(x)), " for ",
                      dtype_name(x.dtype()), " inputs, got ", dtype_name(state.dtype()));
  }
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  MIXGRAD_DISPATCH(x.device(), selective_scan_forward, in, implementation, state, Tensor(), y);
  return y;
}

std::optional<Tensor> mamba_step(const MambaStep& step) {
  constexpr const char* kStep = "mamba_step";
  require_float(kStep, "projected", step.projected);
  require_rank(kStep, "a_log", step.a_log, 3, "[R,C,N]");
  require_rank(kStep, "conv", step.conv, 3, "[R,C,W]");
  require_rank(kStep, "dt_proj", step.dt_proj, 3, "[R,C,rank]");
  require_rank(kStep, "out_proj", step.out_proj, 3, "[R,O,C]");
  const std::int64_t batch = step.projected.dim(0);
  const std::int64_t heads = step.a_log.dim(0);
  const std::int64_t channels = step.a_log.dim(1);
  const std::int64_t states = step.a_log.dim(2);
  const std::int64_t taps = step.conv.dim(2);
  const std::int64_t rank = step.dt_proj.dim(2);
  if (step.projected.shape().rank() == 3) {
    require_shape(kStep, "projected", step.projected, {batch, 1, heads * 2 * channels});
  } else {
    require_shape(kStep, "projected", step.projected, {batch, 1, heads, 2 * channels});
  }
  require_shape(kStep, "conv", step.conv, {heads, channels, taps});
  require_shape(kStep, "conv_bias", step.conv_bias, {heads, channels});
  require_shape(kStep, "x_proj", step.x_proj, {heads, rank + 2 * states, channels});
  require_shape(kStep, "dt_proj", step.dt_proj, {heads, channels, rank});
  require_shape(kStep, "dt_bias", step.dt_bias, {heads, channels});
  require_shape(kStep, "d", step.d, {heads, channels});
  require_shape(kStep, "out_proj", step.out_proj, {heads, step.out_proj.dim(1), channels});
  require_shape(kStep, "history", step.history, {batch, taps - 1, heads, channels});
  require_shape(kStep, "scan_state", step.scan_state, {batch, heads, states, channels});
  if (step.out_beside.defined()) {
    require_like(kStep, "out_beside", step.out_beside, step.projected);
    require_shape(kStep, "out_beside", step.out_beside, {batch, 1, heads, step.out_proj.dim(1)});
    require_contiguous(kStep, "out_beside", step.out_beside);
  }
  if constexpr (MIXGRAD_FOLDER_HAS_CUDA) {
    const bool is_tracked = any_tracked({&step.projected, &step.conv, &step.conv_bias, &step.x_proj, &step.dt_proj,
                                         &step.dt_bias, &step.a_log, &step.d, &step.out_proj});
    Tensor out;
    if (step.projected.device().is_cuda() && !context().check_devices && !is_tracked && cuda::mamba_step(step, out)) {
      return out;
    }
  }
  return std::nullopt;
}

}  // namespace mixgrad
