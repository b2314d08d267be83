// The loss of each target, from logits.
//   loss[b,t] = log sum_v exp(logits[b,t,v]) - logits[b,t,target[b,t]]
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace mixgrad {

struct TargetLoss {
  double loss = 0;        // nats; 0 where the target is -1
  bool likeliest = true;  // no token has a larger logit, and none with a lower id an equal one
};

// logits [B,T,V], on any device; targets: B T ids, or -1 for none. In f64, the same for any number of threads.
// NotFinite (nn/modules/finite_values.h) is left to the caller: a loss that is not finite is returned as it is.
std::vector<TargetLoss> target_losses(const Tensor& logits, std::span<const std::int32_t> targets);

// The most rows of T tokens whose logits fit in 256 MiB of f32: at least 1, at most `batch`.
std::int64_t rows_of_logits(std::int64_t batch, std::int64_t tokens, std::int64_t vocab_size);

}  // namespace mixgrad
