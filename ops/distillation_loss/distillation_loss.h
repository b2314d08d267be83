// distillation_loss: a student's logits against a teacher's and against the targets (Hinton et al., arXiv 1503.02531).
//   q = softmax(logits_r), q' = softmax(logits_r / t), p = softmax(teacher_r / t), t = temperature, m = mix
//   loss = mean over rows with target != -1 of  (1 - m) (-log q[target_r]) + m t^2 sum_v p[v] (log p[v] - log q'[v])
//   logits, teacher: [..., V] float of one type   targets: [...] i32 in [0,V) or -1 = ignored
//   loss: [1], f32 (f64 for f64), nats; 0 when every row is ignored
//   gradient: dlogits = dloss / count ((1 - m) (q - onehot) + m t (q' - p)),
//             dteacher = dloss / count m t p (log p - log q' - KL), KL = sum_v p (log p - log q'); 0 for ignored rows.
//             The factor t^2 keeps the size of the second part whatever t is: without it, it would fall with 1 / t^2.
//   saves logits, teacher, targets
//   cost: exponentials of R V elements: 4 forward, 6 backward for dlogits, 1 or 2 more for dteacher; the backward pass
//         computes the statistics of a row again, they are not stored
//   errors: ShapeError; ValueError for t <= 0, m outside [0,1] or a target outside [-1,V), for which the loss is NaN
//           while a CUDA graph is captured
//
//   const Tensor loss = distillation_loss(logits, teacher_logits, targets, {.temperature = 2, .mix = 0.5});
#pragma once

#include "core/tensor.h"

namespace mixgrad {

struct Distillation {
  double temperature = 1;  // above 0: of both distributions in the second part
  double mix = 1;          // weight of the second part, in [0,1]
};

Tensor distillation_loss(const Tensor& logits, const Tensor& teacher, const Tensor& targets, const Distillation& how);

}  // namespace mixgrad
