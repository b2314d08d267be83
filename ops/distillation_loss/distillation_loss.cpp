#include "ops/distillation_loss/distillation_loss.h"

#include <cmath>

#include "autograd/tape.h"
#include "ops/distillation_loss/distillation_loss_kernels.h"
#include "ops/operators.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

constexpr const char* kOp = "distillation_loss";

void gradient(BackwardContext& context) {
  const Tensor& logits = context.saved(0);
  const GradTarget dlogits = context.gradient(0, logits.shape());
  const GradTarget dteacher = context.gradient(1, logits.shape());
  MIXGRAD_DISPATCH(logits.device(), distillation_loss_backward, logits, context.saved(1), context.saved(2),
                   context.attributes<Distillation>(), context.output_gradient(), dlogits, dteacher);
}

}  // namespace

const OpSpec distillation_loss_spec{
    .name = kOp,
    .formula =
        "loss = mean over targets != -1 of -(1-m) log q[target] + m t^2 KL(p || q'), q = softmax(logits), "
        "q' = softmax(logits/t), p = softmax(teacher/t)",
    .gradient =
        "dlogits = dloss ((1-m) (q - onehot) + m t (q' - p))/count, "
        "dteacher = dloss m t p (log p - log q' - KL)/count",
    .saves = "logits, teacher, targets",
    .inputs = 3,
    .outputs = 1,
    .differentiable = {0, 1},
    .roles = {InputRole::activation, InputRole::activation, InputRole::index},
    .backward = gradient,
};

Tensor distillation_loss(const Tensor& logits, const Tensor& teacher, const Tensor& targets, const Distillation& how) {
  require_float(kOp, "logits", logits);
  require_same(kOp, "teacher", teacher, logits);
  if (!(how.temperature > 0) || !std::isfinite(how.temperature)) {
    raise<ValueError>(kOp, ": temperature must be above 0, got ", how.temperature);
  }
  if (!(how.mix >= 0 && how.mix <= 1)) raise<ValueError>(kOp, ": mix must be in [0,1], got ", how.mix);
  require_targets(kOp, targets, logits.shape().without_last(), logits.cols(), logits);
  Tensor loss = Tensor::empty({1}, accumulation_dtype(logits.dtype()), logits.device());
  MIXGRAD_DISPATCH(logits.device(), distillation_loss_forward, logits, teacher, targets, how, loss);
  if (any_tracked({&logits, &teacher})) {
    record(distillation_loss_spec, {&logits, &teacher, &targets}, {&loss}, {&logits, &teacher, &targets}, how);
  }
  return loss;
}

}  // namespace mixgrad
