// How much each micro-batch counts in a step: by its targets, so that a step has the loss and the gradients of one
// batch of all its sequences, however its targets fall on the micro-batches.
//   loss = sum over micro-batches i of loss_i / divisor_i,   divisor_i = (targets of all) / (targets of i)
// With as many targets in each, a divisor is the number of micro-batches, exactly.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>

#include "core/tensor.h"

namespace mixgrad {

// Of targets i32 on the host: those that are not -1.
inline std::int64_t count_targets(const Tensor& targets) {
  const std::span<const std::int32_t> ids(targets.data<std::int32_t>(), static_cast<std::size_t>(targets.numel()));
  return std::count_if(ids.begin(), ids.end(), [](std::int32_t id) { return id >= 0; });
}

// Of one of `parts` micro-batches with `own` of `all` targets: infinity when it has none, whose loss is 0.
inline double target_divisor(std::int64_t own, std::int64_t all, std::int64_t parts) {
  if (all == 0) return static_cast<double>(parts);
  if (own == 0) return std::numeric_limits<double>::infinity();
  return static_cast<double>(all) / static_cast<double>(own);
}

}  // namespace mixgrad
