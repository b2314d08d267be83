// Attention of a decoding step: one query of each head against a cache. Four implementations, each tested against the
// one before it; shape, type and the kind of device choose:
//   naive         a block for each query, plain loops: heads of any width
//   block         a block for each head, which reads the whole cache (attention_step.cuh): heads that are no whole
//                 chunks of 16 bytes
//   split         a block for each piece of the cache (attention_split.cuh): f64, and devices without clusters
//   cluster       a cluster of blocks for each head (attention_cluster.cuh): long caches, many heads
#include <algorithm>

#include "core/context.h"
#include "core/cuda/launch.cuh"
#include "ops/attention/attention_cluster.cuh"
#include "ops/attention/attention_kernels.h"
#include "ops/attention/attention_naive.cuh"
#include "ops/attention/attention_sizes.cuh"
#include "ops/attention/attention_split.cuh"
#include "ops/attention/attention_step.cuh"

namespace mixgrad::cuda {
namespace {

// By the cluster implementation where there is one; split::takes(s, x) is true.
template <class T>
void in_chunks(Device device, AttentionStepImplementation implementation, const AttentionSizes& s,
               TokenPosition position, const AttentionRows<T>& x, const split::FreshRows<T>& fresh) {
  if constexpr (!std::is_same_v<T, double>) {
    if (implementation == AttentionStepImplementation::cluster) {
      return cluster::forward<T>(device, s, position, x, fresh);
    }
  }
  split::forward<T>(device, s, position, x, fresh);
}

}  // namespace

AttentionStepImplementation attention_step(AttentionStepImplementation highest, const Tensor& q, const Tensor& k,
                                           const Tensor& v, TokenPosition position, std::int64_t keys_per_token,
                                           const AttentionOptions& options, const Tensor& out) {
  const AttentionSizes s(q, k.dim(1), keys_per_token, options);
  AttentionStepImplementation implementation = AttentionStepImplementation::naive;
  dispatch_float(q.dtype(), "attention", [&]<class T>() {
    const AttentionRows<T> x(s, q, k, v, out, Tensor());
    if (step::takes<T>(s)) implementation = AttentionStepImplementation::block;
    if (split::takes<T>(s, x)) implementation = AttentionStepImplementation::split;
    if (cluster::takes<T>(q.device(), s, x)) implementation = AttentionStepImplementation::cluster;
    implementation = std::min(implementation, highest);
    switch (implementation) {
      case AttentionStepImplementation::naive: return naive::step<T>(q.device(), s, position, x);
      case AttentionStepImplementation::block: return step::forward<T>(q.device(), s, position, x);
      case AttentionStepImplementation::split:
      case AttentionStepImplementation::cluster: {
        const HeadRows<const T> none(Tensor(), s.head_dim);
        const HeadRows<T> nowhere(Tensor(), s.head_dim);
        return in_chunks<T>(q.device(), implementation, s, position, x, {none, none, nowhere, nowhere});
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
    in_chunks<T>(
        q.device(),
        cluster::takes<T>(q.device(), s, x) ? AttentionStepImplementation::cluster : AttentionStepImplementation::split,
        s, position, x, fresh);
    return true;
  });
  if (fused) return;
  cuda::attention_append(k, v, k_cache, v_cache, position, keys_per_token);
  attention_step(q, k_cache, v_cache, position, keys_per_token, options, out);
}

void attention_step(const Tensor& q, const Tensor& k, const Tensor& v, TokenPosition position,
                    std::int64_t keys_per_token, const AttentionOptions& options, const Tensor& out) {
  attention_step(AttentionStepImplementation::cluster, q, k, v, position, keys_per_token, options, out);
}

}  // namespace mixgrad::cuda
