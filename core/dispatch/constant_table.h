// Small tables that do not change (shifts of heads, slots), where a kernel can read them.
#pragma once

#include "core/tensor.h"

namespace mixgrad {

// `table` [n] i32 on the host as a tensor on `device`. On the host it is the tensor itself. On a CUDA device the first
// call with these values uploads them, every later one returns that tensor: a training step uploads nothing from its
// second time on, and may be captured. The tables are kept until the process ends: not for what varies from step to
// step.
Tensor constant_table(const Tensor& table, Device device);

}  // namespace mixgrad
