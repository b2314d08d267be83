// How a kernel on a CUDA device reads the table of blocks and the progress of training (optimizer_kernels.h).
#pragma once

#include <cstdint>

#include "core/cuda/launch.cuh"
#include "nn/training/optimizers/optimizer_kernels.h"

namespace mixgrad::cuda {

inline StepProgress* step_progress(const Tensor& progress) { return reinterpret_cast<StepProgress*>(progress.raw()); }

inline constexpr std::int64_t kBlockParts = 8;  // thread blocks that share one block of an update

// Calls f(begin, end, rule) by all kRowThreads threads of a thread block for each part [begin, end) of a trainable
// block, unless `progress` is halted. f loops over its part as j = begin + threadIdx.x, then every kRowThreads.
template <class F>
void for_each_trainable_part(const char* what, const Tensor& blocks, const Tensor& progress, const F& f) {
  const StepProgress* now = step_progress(progress);
  const Rows<std::int32_t> rows(blocks);
  for_each_row(what, blocks.device(), rows.count * kBlockParts, [=] __device__(std::int64_t task) {
    const std::int32_t* row = rows[task / kBlockParts];
    if (now->halted != 0 || (row[2] & kBlockTrainable) == 0) return;
    constexpr std::int64_t kPart = kBlockElements / kBlockParts;
    const std::int64_t first = task % kBlockParts * kPart;
    const std::int64_t end = first + kPart < row[1] ? first + kPart : row[1];
    const std::int64_t begin = row[0] * kBlockAlignment;
    const BlockRule rule{(row[2] & kBlockDecays) != 0, static_cast<double>(__int_as_float(row[3]))};
    f(begin + first, begin + end, rule);
  });
}

}  // namespace mixgrad::cuda
