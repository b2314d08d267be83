// Attention of a decoding step: one query of each head against a cache. Three implementations, each tested against the
// one before it; shape and type alone choose:
//   naive         a block for each query, plain loops: heads of any width
//   block         a block for each head, which reads the whole cache (attention_step.cuh): heads that are no whole
//   chunks
//                 of 16 bytes
//   split         a block for each piece of the cache (attention_split.cuh)
#include <algorithm>

#include "core/context.h"
#include "core/cuda/launch.cuh"
#include "ops/attention/attention_kernels.h"
#include "ops/attention/attention_naive.cuh"
#include "ops/attention/attention_sizes.cuh"
#include "ops/attention/attention_split.cuh"
#include "ops/attention/attention_step.cuh"

namespace mixgrad::cuda {

AttentionStepImplementation attention_step(AttentionStepImplementation highest, const Tensor& q, const Tensor& k,
                                           const Tensor& v, TokenPosition position, std::int64_t keys_per_token,
                                           const AttentionOptions& options, const Tensor& out) {
  const AttentionSizes s(q, k.dim(1), keys_per_token, options);
  AttentionStepImplementation implementation = AttentionStepImplementation::naive;
  dispatch_float(q.dtype(), "attention", [&]<class T>() {
    const AttentionRows<T> x(s, q, k, v, out, Tensor());
    if (step::takes<T>(s)) implementation = AttentionStepImplementation::block;
    if (split::takes<T>(s, x)) implementation = AttentionStepImplementation::split;
    implementation = std::min(implementation, highest);
    switch (implementation) {
      case AttentionStepImplementation::naive: return naive::step<T>(q.device(), s, position, x);
      case AttentionStepImplementation::block: return step::forward<T>(q.device(), s, position, x);
      case AttentionStepImplementation::split: {
        const HeadRows<const T> none(Tensor(), s.head_dim);
        const HeadRows<T> nowhere(Tensor(), s.head_dim);
        return split::forward<T>(q.device(), s, position, x, {none, none, nowhere, nowhere});
      }
    }
  });
  return implementation;
}

void attention_append_step(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& k_cache,
                           const Tensor& v_cache, TokenPosition position, std::int64_t keys_per_token,
                           const AttentionOptions& options, const Tensor& out) {
  const AttentionSizes s(q, k_cache.dim(1), keys_per_token, options);
  const bool fused = dispatch_float(q.dtype(), "attention", [&]<class T>() {
    const AttentionRows<T> x(s, q, k_cache, v_cache, out, Tensor());
    const split::FreshRows<T> fresh{HeadRows<const T>(k, s.head_dim), HeadRows<const T>(v, s.head_dim),
                                    HeadRows<T>(k_cache, s.head_dim), HeadRows<T>(v_cache, s.head_dim),
                                    context().weights_at_rest};
    if (!split::takes<T>(s, x) || !split::has_chunks(fresh.k) || !split::has_chunks(fresh.v)) return false;
    split::forward<T>(q.device(), s, position, x, fresh);
    return true;
  });
  if (fused) return;
  cuda::attention_append(k, v, k_cache, v_cache, position, keys_per_token);
  attention_step(q, k_cache, v_cache, position, keys_per_token, options, out);
}

void attention_step(const Tensor& q, const Tensor& k, const Tensor& v, TokenPosition position,
                    std::int64_t keys_per_token, const AttentionOptions& options, const Tensor& out) {
  attention_step(AttentionStepImplementation::split, q, k, v, position, keys_per_token, options, out);
}

}  // namespace mixgrad::cuda
