#pragma once

#include "autograd/tape.h"
#include "ops/shortcut_attention/shortcut_attention.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(
    // k and v: [B,capacity,G dh], of which the first `length` rows are read. lse: [B,H,T] or undefined.
    void shortcut_attention_forward(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t length,
                                    const ShortcutAttentionOptions& options, const Tensor& out, const Tensor& lse);
    // For the one query of the token at `position` (attention_step).
    void shortcut_attention_step(const Tensor& q, const Tensor& k, const Tensor& v, TokenPosition position,
                                 const ShortcutAttentionOptions& options, const Tensor& out);
    // Targets may be unwanted.
    void shortcut_attention_backward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                                     const Tensor& lse, const Tensor& dout, const ShortcutAttentionOptions& options,
                                     const GradTarget& dq, const GradTarget& dk, const GradTarget& dv);
    // mass: [B,H,T,M] in the accumulation type.
    void shortcut_depth_mass(const Tensor& q, const Tensor& k, const ShortcutAttentionOptions& options,
                             const Tensor& mass);)
