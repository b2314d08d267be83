// shortcut_attention: causal softmax attention over the outputs of M layers ("sources"), all of whose keys compete in
// one softmax.
//   p[i,(m,j)] = exp(q_i . k_(m,j) / sqrt(dh) - lse_i) for all sources m of the tokens j that query i sees
//   out_i      = sum over j and m of p[i,(m,j)] v_(m,j)
//   q: [B,T,H dh]   k, v: [B,S M,G dh] with S >= T: the first S - T tokens are the past     out: [B,T,H dh]
//   Row j M + m holds source m of token j ("token-major"), so what a causal query sees is one contiguous range of rows:
//   no mask and no copy is made. All may be row views. Query head h reads key/value head floor(h / (H/G)).
//   Query i sees the tokens j <= i + (S - T), and with window w > 0 only the last w of them; w = 1 is the "depth" form:
//   each query chooses among the M outputs at its own position.
//   gradient, with delta_i = sum_c dout_i[c] out_i[c] and ds[i,r] = p[i,r] (dout_i . v_r - delta_i) / sqrt(dh):
//     dq_i = sum_r ds[i,r] k_r,   dk_r = sum_i ds[i,r] q_i,   dv_r = sum_i p[i,r] dout_i
//   saves q, k, v, out and lse [B,H,T]; the probabilities are computed again
//   cost: 4 dh operations per query and visible row forward, 10 dh backward. The kernels are those of
//         ops/attention, where a token brings one row; the depth form has its own, M rows per query.
//   errors: ShapeError when H is no multiple of G, widths do not match, S M is no multiple of M, or S < T
//   source: "Adaptive LLMs by Layerwise Attention Shortcuts" (2024) for the idea; the order of the rows is ours
#pragma once

#include "core/numeric/dropout_mask.h"
#include "core/numeric/token_position.h"
#include "core/tensor.h"

namespace mixgrad {

struct ShortcutAttentionOptions {
  std::int64_t heads = 1;     // H
  std::int64_t kv_heads = 1;  // G
  std::int64_t sources = 1;   // M
  std::int64_t window = 0;    // tokens; 0: no limit
  DropoutMask dropout = {};   // of the probabilities, as in attention(), row r of the keys
};

Tensor shortcut_attention(const Tensor& q, const Tensor& k, const Tensor& v, const ShortcutAttentionOptions& options);

// Inference from a cache of tokens with M rows each: k_cache, v_cache [B,capacity M,G dh]; position as in
// attention_cached. Not recorded; GradError when q is tracked.
Tensor shortcut_attention_cached(const Tensor& q, const Tensor& k_cache, const Tensor& v_cache, TokenPosition position,
                                 const ShortcutAttentionOptions& options);

// Depth mass [B,H,T,M] (f32, f64 for f64): how much of its attention each query gives to each source,
// sum over j of p[i,(m,j)]. The M of a query sum to 1. For probes: not recorded. One block of scores at a time.
Tensor shortcut_depth_mass(const Tensor& q, const Tensor& k, const ShortcutAttentionOptions& options);

}  // namespace mixgrad
