// to += from, for gradients: same shape, row views allowed, any two float types; summed in the accumulation type of
// `to`.
#pragma once

#include "core/tensor.h"

namespace mixgrad {

void accumulate(const Tensor& to, const Tensor& from);

namespace cuda {
void accumulate(const Tensor& to, const Tensor& from);
}

}  // namespace mixgrad
