#pragma once

#include "autograd/tape.h"
#include "ops/attention/attention.h"
#include "ops/support/dispatch.h"

MIXGRAD_KERNELS(
    // Each token brings keys_per_token rows of keys, row j keys_per_token + m: 1 in attention, the number of sources in
    // shortcut_attention. A query sees all rows of the tokens that it sees.
    // k and v: [B,capacity,G dh], of which the first `length` rows are read. lse: [B,H,T] or undefined.
    void attention_forward(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t length,
                           std::int64_t keys_per_token, const AttentionOptions& options, const Tensor& out,
                           const Tensor& lse);
    // The same for one query, that of the token at `position`, which sees the min(position + 1, capacity) tokens of a
    // cache. The order of every sum depends on sizes and position alone.
    void attention_step(const Tensor& q, const Tensor& k, const Tensor& v, TokenPosition position,
                        std::int64_t keys_per_token, const AttentionOptions& options, const Tensor& out);
    // attention_append of that token's keys and values, then attention_step.
    void attention_append_step(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& k_cache,
                               const Tensor& v_cache, TokenPosition position, std::int64_t keys_per_token,
                               const AttentionOptions& options, const Tensor& out);
    void attention_append(const Tensor& k, const Tensor& v, const Tensor& k_cache, const Tensor& v_cache,
                          TokenPosition position, std::int64_t rows_per_token);
    // Targets may be unwanted.
    void attention_backward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out, const Tensor& lse,
                            const Tensor& dout, std::int64_t keys_per_token, const AttentionOptions& options,
                            const GradTarget& dq, const GradTarget& dk, const GradTarget& dv);
    // ratio: [H] in the accumulation type.
    void attention_recency(const Tensor& q, const Tensor& k, const Tensor& lse, std::int64_t recency_window,
                           const AttentionOptions& options, const Tensor& ratio);
    // profile: [B,H,2 + R] in the accumulation type.
    void attention_profile(const Tensor& q, const Tensor& k, const Tensor& lse, const AttentionOptions& options,
                           const Tensor& profile);)

// In builds with CUDA. Four implementations of the same formulas, from the plainest to the quickest: each is the
// reference of the next.
namespace mixgrad::cuda {

enum class AttentionImplementation { naive, tiled, tensor_core, warpgroup };

// Whether this device has the last of them, and this build its code.
bool has_warpgroup_attention(Device device);

// As the kernels above, by the highest implementation that takes these shapes and is at most `highest`; returns which
// it was.
AttentionImplementation attention_forward(AttentionImplementation highest, const Tensor& q, const Tensor& k,
                                          const Tensor& v, std::int64_t length, std::int64_t keys_per_token,
                                          const AttentionOptions& options, const Tensor& out, const Tensor& lse);
AttentionImplementation attention_backward(AttentionImplementation highest, const Tensor& q, const Tensor& k,
                                           const Tensor& v, const Tensor& out, const Tensor& lse, const Tensor& dout,
                                           std::int64_t keys_per_token, const AttentionOptions& options,
                                           const GradTarget& dq, const GradTarget& dk, const GradTarget& dv);

// The implementations of attention_step (attention_step.cu): as above, the highest that takes these shapes.
enum class AttentionStepImplementation { naive, block, split, cluster };
AttentionStepImplementation attention_step(AttentionStepImplementation highest, const Tensor& q, const Tensor& k,
                                           const Tensor& v, TokenPosition position, std::int64_t keys_per_token,
                                           const AttentionOptions& options, const Tensor& out);

}  // namespace mixgrad::cuda
