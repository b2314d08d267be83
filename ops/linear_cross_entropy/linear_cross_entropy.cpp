#include "ops/linear_cross_entropy/linear_cross_entropy.h"

#include "autograd/tape.h"
#include "core/build.h"
#include "core/cuda/cuda.h"
#include "ops/linear_cross_entropy/linear_cross_entropy_kernels.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

struct NoAttributes {};

void scaled_gradient(BackwardContext& context);

void cross_entropy_gradient(BackwardContext& context) {
  const Tensor& x = context.saved(0);
  if (!x.defined()) return scaled_gradient(context);
  const Tensor& weight = context.saved(1);
  GradTarget dx;
  GradTarget dweight;
  if (context.wants(0)) dx = context.gradient(0, x.shape());
  if (context.wants(1)) dweight = context.parameter_gradient(1, weight.shape());
  MIXGRAD_DISPATCH(x.device(), linear_cross_entropy_backward, x, weight, context.saved(2), context.saved(3),
                   context.saved(4), context.output_gradient(), dx, dweight);
}

// On a CUDA device the forward pass has computed the gradients for a dloss of 1.
void scaled_gradient(BackwardContext& context) {
  const Tensor& dloss = context.output_gradient();
  if (context.wants(0)) {
    const Tensor& gradient = context.saved(5);
    MIXGRAD_DISPATCH(gradient.device(), linear_cross_entropy_scale, gradient, dloss,
                     context.gradient(0, gradient.shape()));
  }
  if (context.wants(1)) {
    const Tensor& gradient = context.saved(6);
    MIXGRAD_DISPATCH(gradient.device(), linear_cross_entropy_scale, gradient, dloss,
                     context.parameter_gradient(1, gradient.shape()));
  }
}

void check_targets(const Tensor& targets, std::int64_t vocabulary) {
  if constexpr (build::has_cuda) {
    if (cuda::capturing()) return;  // the values do not exist yet: the kernel makes the loss NaN
  }
  const Tensor host = targets.to(kCpu);
  const std::int32_t* ids = host.data<std::int32_t>();
  for (std::int64_t r = 0; r < targets.numel(); ++r) {
    if (ids[r] >= -1 && ids[r] < vocabulary) continue;
    raise<ValueError>("linear_cross_entropy: targets must be -1 (ignored) or in [0,", vocabulary, "), got ", ids[r],
                      " at index ", r);
  }
}

}  // namespace

const OpSpec linear_cross_entropy_spec{
    OpId::linear_cross_entropy,
    "linear_cross_entropy",
    "loss = mean over targets != -1 of lse_r - logits[r,target_r], logits = x weight^T",
    "dlogits = dloss (softmax(logits) - onehot)/count; dx = dlogits weight, "
    "dweight = dlogits^T x",
    "x, weight, targets, count, lse; on CUDA dx and dweight for dloss = 1",
    3,
    1,
    0b011,
    cross_entropy_gradient};

Tensor linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& targets) {
  const char* op = "linear_cross_entropy";
  require_float(op, "x", x);
  require_float(op, "weight", weight);
  require_like(op, "weight", weight, x);
  require_rank(op, "weight", weight, 2, "[V,D]");
  require_contiguous(op, "weight", weight);
  require_i32(op, "targets", targets);
  require_contiguous(op, "targets", targets);
  require_device(op, "targets", targets, x.device());
  if (x.shape().rank() == 0 || x.cols() != weight.dim(1)) {
    raise<ShapeError>(op, ": the last axis of x must be ", weight.dim(1), " to match weight ", weight.shape(),
                      ", got x ", x.shape());
  }
  require_shape(op, "targets", targets, x.shape().without_last());
  check_targets(targets, weight.dim(0));
  const DType sums = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
  const bool recording = any_tracked({&x, &weight});
  Tensor loss = Tensor::empty({1}, sums, x.device());
  if (x.device().is_cuda()) {
    const Tensor none;
    const Tensor dx = recording && tracked(x) ? Tensor::empty(x.shape(), x.dtype(), x.device()) : none;
    const Tensor dweight = recording && tracked(weight) ? Tensor::empty(weight.shape(), sums, x.device()) : none;
    MIXGRAD_DISPATCH(x.device(), linear_cross_entropy_fused, x, weight, targets, loss, dx, dweight);
    if (recording) {
      record(linear_cross_entropy_spec, {&x, &weight, &targets}, {&loss},
             {&none, &none, &none, &none, &none, &dx, &dweight}, NoAttributes{});
    }
    return loss;
  }
  const Tensor count = Tensor::empty({1}, DType::i32, x.device());
  const Tensor lse = Tensor::empty({x.rows()}, sums, x.device());
  MIXGRAD_DISPATCH(x.device(), linear_cross_entropy_forward, x, weight, targets, count, lse, loss);
  if (recording) {
    record(linear_cross_entropy_spec, {&x, &weight, &targets}, {&loss}, {&x, &weight, &targets, &count, &lse},
           NoAttributes{});
  }
  return loss;
}

}  // namespace mixgrad
