// What the operators attention and shortcut_attention share beside their kernels: checks, results, the backward pass.
#pragma once

#include "autograd/tape.h"
#include "ops/attention/attention.h"

namespace mixgrad {

// The argument checks of attention, for keys of which each token brings keys_per_token rows. `op` begins the errors.
void check_attention(const char* op, const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t length,
                     std::int64_t keys_per_token, const AttentionOptions& options);

// Checks what is special about a cache of keys and returns how many of its rows are valid. GradError when one of the
// three is tracked: a form for decoding is not recorded.
std::int64_t cached_rows(const char* op, const Tensor& q, const Tensor& k_cache, const Tensor& v_cache,
                         const TokenPosition& position, std::int64_t keys_per_token, std::int64_t window);

// The rows S of k [B,S,W]; 0 for a k of another rank, which check_attention refuses.
std::int64_t key_rows(const Tensor& k);

// Memory for the result of the queries q: `out` like q and, when it is asked for, `lse` [B,H,T] in the accumulation
// type.
AttentionWithLse attention_result(const Tensor& q, std::int64_t heads, bool with_lse);

// Records the operator, whose backward function is to call attention_gradient.
template <class Options>
void record_attention(const OpSpec& spec, const Tensor& q, const Tensor& k, const Tensor& v, AttentionWithLse& result,
                      const Options& options) {
  record(spec, {&q, &k, &v}, {&result.out}, {&q, &k, &v, &result.out, &result.lse}, options);
}

// Calls backward(q, k, v, out, lse, dout, options, dq, dk, dv).
template <class Options, class Backward>
void attention_gradient(BackwardContext& context, const Backward& backward) {
  const Tensor& q = context.saved(0);
  const Tensor& k = context.saved(1);
  const Tensor& v = context.saved(2);
  const GradTarget dq = context.gradient(0, q.shape());
  const GradTarget dk = context.gradient(1, k.shape());
  const GradTarget dv = context.gradient(2, v.shape());
  backward(q, k, v, context.saved(3), context.saved(4), context.output_gradient(), context.attributes<Options>(), dq,
           dk, dv);
}

}  // namespace mixgrad
