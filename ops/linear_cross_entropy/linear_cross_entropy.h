// linear_cross_entropy: the output head and the loss in one, a chunk of tokens at a time.
//   logits[r,v] = sum_d x[r,d] weight[v,d],   lse_r = log sum_v exp(logits[r,v])
//   loss = sum over rows with target != -1 of (lse_r - logits[r,target_r]) / count        (nats; 0 when count = 0)
//   x: [..., D] float   weight: [V,D]   targets: [...] i32 in [0,V) or -1 = ignored   loss: [1], f32 (f64 for f64)
//   gradient: dlogits[r,v] = dloss (exp(logits[r,v] - lse_r) - [v = target_r]) / count, 0 for ignored rows,
//             dx = dlogits weight,  dweight = dlogits^T x
//   saves x, weight, targets, the count and lse; the logits of a chunk are computed again, so no [rows, V] exists
//   cost: 2 R V D operations forward, 6 R V D backward
//         On CUDA, when it is recorded, forward computes the gradients for dloss = 1 as well, each logit once, and
//         saves dx and dweight alone: 6 R V D operations forward, none backward. A bf16 model with V > 8192 then
//         stores its logits in bf16.
//   errors: ShapeError, ValueError for a target outside [-1,V); in a captured CUDA graph the loss is NaN instead
#pragma once

#include "core/tensor.h"

namespace mixgrad {

Tensor linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& targets);

}  // namespace mixgrad
