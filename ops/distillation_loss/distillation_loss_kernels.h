#pragma once

#include "autograd/tape.h"
#include "ops/distillation_loss/distillation_loss.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(
    // loss [1] has the accumulation type.
    void distillation_loss_forward(const Tensor& logits, const Tensor& teacher, const Tensor& targets,
                                   const Distillation& how, const Tensor& loss);
    // A gradient may be unwanted.
    void distillation_loss_backward(const Tensor& logits, const Tensor& teacher, const Tensor& targets,
                                    const Distillation& how, const Tensor& dloss, const GradTarget& dlogits,
                                    const GradTarget& dteacher);)
