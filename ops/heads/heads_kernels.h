#pragma once

#include "autograd/tape.h"
#include "ops/heads/heads.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(
    // Between a part and its slots [H_p] i32 in the whole [B,T,H C]; the part's C is its heads' width.
    void heads_to_slots(const Tensor& part, const Tensor& slots, const Tensor& whole);
    void heads_from_slots(const Tensor& whole, const Tensor& slots, const GradTarget& part);)
