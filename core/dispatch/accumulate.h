// accumulate: to += from, for gradients. Same shape, row views allowed, any two float types; summed in the accumulation
// type of `to`.
#pragma once

#include "core/dispatch/dispatch.h"
#include "core/tensor.h"

namespace mixgrad {

void accumulate(const Tensor& to, const Tensor& from);

}  // namespace mixgrad

MIXGRAD_KERNELS(void accumulate(const Tensor& to, const Tensor& from);)
