// linear(concat_heads(parts, slots, head_dim), weight, bias) of a decoding step in one kernel on a CUDA device, the
// same bits: each piece of a row is read where its head has left it, and nothing is put side by side.
//   parts: [B,1,H_p C] or [B,1,H_p,C]   slots: a permutation of 0...H-1, the heads counted through the parts in order
//   weight: [N, H C]   result: [B,1,N]
// Not differentiable: operators that a tape records are never fused like this.
#pragma once

#include <optional>
#include <span>

#include "core/tensor.h"

namespace mixgrad {

// nullopt, and nothing is done, where there is no such kernel: on a CPU, in f64, for more than kProductVectors
// sequences or kMostGathered heads, for heads that are no whole chunks of 16 bytes, under a tape that tracks an
// argument, and when devices are compared (Context::check_devices). ShapeError when the sizes do not match.
std::optional<Tensor> heads_linear(std::span<const Tensor> parts, std::span<const std::int64_t> slots,
                                   std::int64_t head_dim, const Tensor& weight, const Tensor& bias);

inline constexpr std::int64_t kMostGathered = 64;  // heads

}  // namespace mixgrad
