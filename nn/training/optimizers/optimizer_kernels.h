// The kernels that all optimizers share, and the progress and the table of blocks that every kernel reads.
#pragma once

#include <cstdint>

#include "core/dispatch/dispatch.h"
#include "core/numeric/vec_math.h"
#include "core/tensor.h"

namespace mixgrad {

// The progress of training as a step reads and writes it, in the memory of the parameters' device. All are f64, so that
// a tensor holds them.
struct StepProgress {
  static constexpr std::int64_t kNumbers = 6;

  double learning_rate = 0;  // of the next step; set by the code that queues the step
  double loss = 0;           // of the next step, likewise; if it is not finite, the step halts
  double norm = 0;           // of the last gradients, before clipping
  double scale = 1;          // by which the update multiplies them: min(1, clip / (norm + 1e-6))
  double steps = 0;          // that changed the parameters, the one under way included
  double halted = 0;         // 1 when a loss or a norm was not finite: nothing is written from then on
};
static_assert(sizeof(StepProgress) == StepProgress::kNumbers * sizeof(double));

// Parameters are updated in blocks of at most kBlockElements elements of one parameter: the unit of work, and of the
// ordered sum of the norm. Row i of the table [blocks, 4] i32 is
//   begin / 16 in the flat buffers (parameters begin at multiples of 16), number of elements, flags, and the bits of
//   an f32: Parameter::lr_scale.
inline constexpr std::int64_t kBlockColumns = 4;
inline constexpr std::int64_t kBlockElements = 16384;
inline constexpr std::int64_t kBlockAlignment = 16;
inline constexpr std::int32_t kBlockTrainable = 1;  // otherwise its gradient does not count, and nothing is written
inline constexpr std::int32_t kBlockDecays = 2;     // weight decay applies (Parameter::decay)

// How a rule updates the elements of a block.
struct BlockRule {
  bool decays = false;
  double lr_scale = 1;  // by which the learning rate is multiplied
  // 1 - lr_scale rate weight_decay, from keep = 1 - rate weight_decay; 1 without decay.
  MIXGRAD_HD double keep(double all) const {
    if (!decays) return 1;
    return lr_scale == 1 ? all : 1 - lr_scale * (1 - all);
  }
};

}  // namespace mixgrad

// square_sums: sums[i] f64 = the sum of the squares of block i of the gradient; 0 for one that is not trainable.
// gradient_norm: progress.norm, the root of all sums.
// begin_step: the same, and then halted, or one more step and its scale.
// copy_pieces: copies the pieces of `from` [n] f32 that the rows of `pieces` name (ParameterSet::kept_pieces()) to `to`
// [m] f32; copies nothing while progress is halted.
MIXGRAD_KERNELS(void square_sums(const Tensor& gradient, const Tensor& blocks, const Tensor& sums);
                void gradient_norm(const Tensor& sums, const Tensor& progress);
                void begin_step(const Tensor& sums, double clip, const Tensor& progress);
                void copy_pieces(const Tensor& from, const Tensor& to, const Tensor& pieces, const Tensor& progress);)
