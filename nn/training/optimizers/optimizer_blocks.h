// How a kernel on the CPU reads the table of blocks and the progress of training (optimizer_kernels.h).
#pragma once

#include <cstdint>

#include "core/numeric/bit_cast.h"
#include "core/parallel.h"
#include "nn/training/optimizers/optimizer_kernels.h"

namespace mixgrad::cpu {

struct ParameterBlock {
  std::int64_t begin, end;  // in the flat buffers
  bool trainable;
  BlockRule rule;
};

// Calls f(i, block) for each row of the table, in any order and on any thread.
template <class F>
void for_each_block(const Tensor& blocks, const F& f) {
  const std::int32_t* rows = blocks.data<std::int32_t>();
  parallel_for(blocks.dim(0), [&](std::int64_t i) {
    const std::int32_t* row = rows + kBlockColumns * i;
    const std::int64_t begin = row[0] * kBlockAlignment;
    const BlockRule rule{.decays = (row[2] & kBlockDecays) != 0,
                         .lr_scale = static_cast<double>(bit_cast<float>(row[3]))};
    f(i, ParameterBlock{begin, begin + row[1], (row[2] & kBlockTrainable) != 0, rule});
  });
}

inline StepProgress& step_progress(const Tensor& progress) { return *reinterpret_cast<StepProgress*>(progress.raw()); }

}  // namespace mixgrad::cpu
