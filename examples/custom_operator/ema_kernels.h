// The kernels of ema, declared for both devices at once: mixgrad::cpu::ema_forward, mixgrad::cuda::ema_forward, ...
#pragma once

#include "mixgrad/mixgrad.h"
#include "ops/support/dispatch.h"

namespace ema {
inline constexpr std::int64_t kChannelsOfTask = 64;  // of the CPU's kernels; the cases cross it
}  // namespace ema

MIXGRAD_KERNELS(
    // An undefined state: the sequence starts here.
    void ema_forward(const Tensor& x, const Tensor& gate, const Tensor& state, const Tensor& y);
    void ema_backward(const Tensor& x, const Tensor& gate, const Tensor& dy, const GradTarget& dx,
                      const GradTarget& dgate);)
