// split_heads: the channels of each head as rows of their own, so that columns() reaches into every head at once.
//   y[b,t,h,c] = x[b,t,h C + c]      x: [B,T,H C] contiguous   y: [B,T,H,C], the same memory
//   gradient: dx = dy, handed on without a copy                        saves nothing
//   errors: ShapeError when the last axis is no multiple of H or x is a row view
//
// concat_heads: the heads of up to four tensors side by side, each in a slot of its own.
//   y[b,t,slots[i] C + c] = head i at c, the heads counted through the parts in order
//   parts: [B,T,H_p C] or [B,T,H_p,C] float   slots: sum H_p values, a permutation of 0...H-1   y: [B,T,H C]
//   gradient: the same way back                                         saves the slots
//   cost: each element is read and written once; what it is for: one product after heads of several kinds
//   errors: ShapeError when the parts differ in B, T or C; ValueError when the slots are no permutation
#pragma once

#include <span>

#include "core/tensor.h"

namespace mixgrad {

Tensor split_heads(const Tensor& x, std::int64_t heads);

// C = head_dim.
Tensor concat_heads(std::span<const Tensor> parts, std::span<const std::int64_t> slots, std::int64_t head_dim);

}  // namespace mixgrad
