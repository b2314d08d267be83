#pragma once

#include "autograd/tape.h"
#include "ops/attention/attention.h"
#include "ops/dispatch.h"

MIXGRAD_KERNELS(
    // k and v: [B,capacity,G dh], of which the first `length` rows are read. lse: [B,H,T] or undefined.
    void attention_forward(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t length,
                           const AttentionOptions& options, const Tensor& out, const Tensor& lse);
    // Targets may be unwanted.
    void attention_backward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out, const Tensor& lse,
                            const Tensor& dout, const AttentionOptions& options, const GradTarget& dq,
                            const GradTarget& dk, const GradTarget& dv);
    // ratio: [H] in the accumulation type.
    void attention_recency(const Tensor& q, const Tensor& k, const Tensor& lse, std::int64_t recency_window,
                           const AttentionOptions& options, const Tensor& ratio);)
