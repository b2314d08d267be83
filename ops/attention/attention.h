// attention: causal softmax attention with grouped key/value heads.
//   p[i,j] = exp(q_i . k_j / sqrt(dh) - lse_i) for the keys j that query i sees,   out_i = sum_j p[i,j] v_j
//   q: [B,T,H dh]   k, v: [B,S,G dh] with S >= T: the first S - T keys are the past     out: [B,T,H dh]
//   all three may be row views (a packed qkv). Query head h reads key/value head floor(h / (H/G)).
//   query i sees j <= i + (S - T), and with window w > 0 only the last w of them: j > i + (S - T) - w.
//   gradient, with delta_i = sum_c dout_i[c] out_i[c] and ds[i,j] = p[i,j] (dout_i . v_j - delta_i) / sqrt(dh):
//     dq_i = sum_j ds[i,j] k_j,   dk_j = sum_i ds[i,j] q_i,   dv_j = sum_i p[i,j] dout_i
//     (dk, dv also sum over the query heads of the group)
//   saves q, k, v, out and lse [B,H,T]; the probabilities are computed again
//   cost: 4 dh operations per visible pair forward, 10 dh backward; one block of queries at a time, only visible keys;
//         extra memory: a block of scores per thread
//   dropout (core/numeric/dropout_mask.h): with a mask, out_i = sum_j f[i,j] p[i,j] v_j, f = 0 or 1/(1 - rate); then
//     ds[i,j] = p[i,j] (f[i,j] dout_i . v_j - delta_i) / sqrt(dh) and dv_j = sum_i f[i,j] p[i,j] dout_i. Element
//     ((b H + h) T + i) R + j, with R the next multiple of 4 from S on, says f[i,j]. The mask is computed again.
//   errors: ShapeError when H is no multiple of G, widths do not match, or S < T
//   source: Vaswani et al. (2017); the recomputing backward as in Dao et al., FlashAttention (2022)
#pragma once

#include "core/numeric/dropout_mask.h"
#include "core/numeric/token_position.h"
#include "core/tensor.h"

namespace mixgrad {

struct AttentionOptions {
  std::int64_t heads = 1;     // H
  std::int64_t kv_heads = 1;  // G
  std::int64_t window = 0;    // 0: no limit
  DropoutMask dropout = {};   // of the probabilities; for attention() alone
};

// R, the elements of a row of the probabilities as a dropout counts them.
MIXGRAD_HD constexpr std::int64_t dropout_row(std::int64_t keys) { return (keys + 3) / 4 * 4; }

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options);

// Inference from a cache: k_cache, v_cache [B,capacity,G dh], of which the first min(position + T, capacity) rows are
// valid, those of this call among them: the last T, or anywhere in a full ring when T = 1 (softmax does not mind the
// order; then without a window).
//   position: tokens before this call; on the device with T = 1. Not recorded; GradError when q is tracked.
Tensor attention_cached(const Tensor& q, const Tensor& k_cache, const Tensor& v_cache, TokenPosition position,
                        const AttentionOptions& options);

// Puts keys and values of the tokens from `position` on, k and v [B,T r,W] with r rows a token, into such caches
// [B,C r,W]: row i goes to (position r + i) mod C r, the oldest when the ring is full. T <= C. Not recorded; GradError
// when k or v is tracked.
void attention_append(const Tensor& k, const Tensor& v, const Tensor& k_cache, const Tensor& v_cache,
                      TokenPosition position, std::int64_t rows_per_token = 1);

// attention_append of one token, k and v [B,1,G dh], then attention_cached of its query: on a CUDA device in one
// kernel.
Tensor attention_append_cached(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& k_cache,
                               const Tensor& v_cache, TokenPosition position, const AttentionOptions& options);

// Attention and, beside it, each row's log-sum-exp [B,H,T] (f32, f64 for f64); for probes. Not recorded.
struct AttentionWithLse {
  Tensor out;
  Tensor lse;
};
AttentionWithLse attention_with_lse(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options);

// Recency ratio per query head [H]: the mean over batch and queries i of sum of p[i,j] over j in [max(0,i-k), i].
// Visits the window only.
Tensor attention_recency(const Tensor& q, const Tensor& k, const Tensor& lse, std::int64_t recency_window,
                         const AttentionOptions& options);

// Where each query looks, summed over the queries: [B,H,2 + R] (f32, f64 for f64). The columns are the probability of
// the first key, the entropy -sum_j p[i,j] log p[i,j] in nats, and the probabilities by the distance d between query
// and key: first d = 0, then 2^(r-1) <= d < 2^r for r = 1 to R - 1, R = attention_ranges(S). No T x T matrix is made.
// Not recorded.
Tensor attention_profile(const Tensor& q, const Tensor& k, const Tensor& lse, const AttentionOptions& options);
std::int64_t attention_ranges(std::int64_t keys);  // that the distances 0 ... keys - 1 fall into

}  // namespace mixgrad
