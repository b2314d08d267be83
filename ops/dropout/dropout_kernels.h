#pragma once

#include "autograd/tape.h"
#include "ops/dropout/dropout.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(
    // y (+)= m x / (1 - p)
    void dropout_apply(const Tensor& x, const DropoutMask& mask, const GradTarget& y);)
