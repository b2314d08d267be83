// mean_of_target_rows: the last step of a loss that is a mean over the rows with a target.
#pragma once

#include "core/cuda/launch.cuh"

namespace mixgrad::cuda {

// mean = sum_r losses[r] / (rows whose ids[r] >= 0), in f64 and in the same order each time; *counted, unless null, is
// that number of rows. 0 where no row has a target. Rows without one have the loss 0, or NaN where the target is
// outside the vocabulary, and NaN stays NaN also where no row counts.
template <class A>
void mean_of_target_rows(const char* op, Device device, std::int64_t rows, const A* losses, const std::int32_t* ids,
                         A* mean, std::int32_t* counted) {
  for_each_row(op, device, 1, [=] __device__(std::int64_t) {
    double sum = 0;
    std::int32_t live = 0;
    for (std::int64_t r = threadIdx.x; r < rows; r += kRowThreads) {
      sum += static_cast<double>(losses[r]);
      live += ids[r] >= 0 ? 1 : 0;
    }
    sum = block_sum(sum);
    live = block_sum(live);
    if (threadIdx.x != 0) return;
    if (counted != nullptr) *counted = live;
    *mean = static_cast<A>(live == 0 && sum == 0 ? 0.0 : sum / static_cast<double>(live));
  });
}

}  // namespace mixgrad::cuda
