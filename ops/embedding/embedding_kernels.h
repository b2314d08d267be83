#pragma once

#include "autograd/tape.h"
#include "core/numeric/token_position.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(void embedding_forward(const Tensor& tokens, const Tensor& weight, const Tensor& positions,
                                       TokenPosition first_position, const Tensor& y);
                // The targets have the accumulation type and may be unwanted.
                void embedding_backward(const Tensor& tokens, std::int64_t first_position, const Tensor& dy,
                                        const GradTarget& dweight, const GradTarget& dpositions);)
