// Four implementations of the same formulas, each tested against the one before it. Shape, type and, for f32, the
// MatmulPrecision choose (implementation_of):
//
//   naive         a block per query or key, plain loops: anything, f64 above all, and the few queries of a short piece
//   tiled         64 x 64 tiles in shared memory, f32 multiply-adds on the plain units: f32, unaligned bf16
//   tensor_core   such tiles through mma.sync, rows of whole 16-byte chunks: bf16, and f32 where tf32 is allowed
//   warpgroup     wgmma and the copy engine on compute capability 9.0: bf16 without dropout, heads of 40 to 128
//
// The one query of a decoding step has implementations of its own (attention_step.cu).
#include <algorithm>
#include <initializer_list>

#include "core/context.h"
#include "core/cuda/launch.cuh"
#include "core/numeric/vec_math.h"
#include "ops/attention/attention_kernels.h"
#include "ops/attention/attention_naive.cuh"
#include "ops/attention/attention_sizes.cuh"
#include "ops/attention/attention_tensor_core.cuh"
#include "ops/attention/attention_tensor_core_backward.cuh"
#include "ops/attention/attention_tiled.cuh"
#include "ops/attention/attention_tiled_backward.cuh"
#include "ops/attention/warpgroup/attention_warpgroup_launch.cuh"

namespace mixgrad::cuda {
namespace {

// Fewer queries than this leave most rows of a tile empty.
constexpr std::int64_t kFewestTiledQueries = kAttentionTiledQueries;
constexpr std::int64_t kWidestTiledHead = kAttentionTiledWidth;
// Indices inside the kernels of tiles are int.
constexpr std::int64_t kMostTiledRows = std::int64_t{1} << 30;

int attribute(cudaDeviceAttr which, Device device) {
  int value = 0;
  MIXGRAD_CUDA_CALL("attention", cudaDeviceGetAttribute(&value, which, device.index));
  return value;
}

// Can 16 bytes at a time be copied from and to the rows of each head?
bool has_whole_chunks(std::initializer_list<const Tensor*> tensors, std::int64_t head_dim) {
  for (const Tensor* x : tensors) {
    if (!x->defined()) continue;
    const std::int64_t chunk = x->dtype() == DType::bf16 ? 8 : 4;
    if (reinterpret_cast<std::uintptr_t>(x->raw()) % 16 != 0 || x->row_stride() % chunk != 0) return false;
  }
  return head_dim % 8 == 0;
}

AttentionImplementation implementation_of(const Tensor& q, const AttentionSizes& s,
                                          std::initializer_list<const Tensor*> tensors) {
  if (q.dtype() == DType::f64 || s.head_dim > kWidestTiledHead || s.queries < kFewestTiledQueries ||
      s.keys > kMostTiledRows) {
    return AttentionImplementation::naive;
  }
  const auto bytes = static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, q.device()));
  const bool rounds = q.dtype() == DType::f32 && context().matmul_precision != MatmulPrecision::highest;
  const bool has_cores = attribute(cudaDevAttrComputeCapabilityMajor, q.device()) >= 8;
  if (rounds && has_cores && has_whole_chunks(tensors, s.head_dim) &&
      bytes >= tensor_core::most_shared_bytes<float>(s)) {
    return AttentionImplementation::tensor_core;
  }
  if (q.dtype() == DType::bf16 && has_cores && has_whole_chunks(tensors, s.head_dim)) {
    const bool groups = warpgroup::takes(s) && !s.dropout.active() && warpgroup::available(q.device());
    return groups ? AttentionImplementation::warpgroup : AttentionImplementation::tensor_core;
  }
  return bytes >= tiled::most_shared_bytes(s) ? AttentionImplementation::tiled : AttentionImplementation::naive;
}

// One block per head; a thread takes every kRowThreads-th query.
template <class T>
void recency(const Tensor& q, const Tensor& k, const Tensor& lse, std::int64_t recency_window, const AttentionSizes& s,
             const Tensor& ratio) {
  using A = acc_t<T>;
  const HeadRows<const T> queries(q, s.head_dim);
  const HeadRows<const T> keys(k, s.head_dim);
  const A* lses = lse.data<A>();
  A* to = ratio.data<A>();
  const A scale = A(1) / std::sqrt(A(s.head_dim));
  for_each_row("attention_recency", q.device(), s.heads, [=] __device__(std::int64_t head) {
    const std::int64_t group = head / (s.heads / s.kv_heads);
    double total = 0;
    for (std::int64_t item = threadIdx.x; item < s.batch * s.queries; item += kRowThreads) {
      const std::int64_t b = item / s.queries;
      const std::int64_t i = item % s.queries;
      const std::int64_t at = s.past + i;
      std::int64_t j = at > recency_window ? at - recency_window : 0;
      if (j < s.first_key(i)) j = s.first_key(i);
      for (; j <= at; ++j) {
        A score = 0;
        for (std::int64_t c = 0; c < s.head_dim; ++c) {
          score += A(queries.at(b, i, head)[c]) * A(keys.at(b, j, group)[c]);
        }
        total += static_cast<double>(exp_value(score * scale - lses[(b * s.heads + head) * s.queries + i]));
      }
    }
    total = block_sum(total);
    if (threadIdx.x == 0) to[head] = static_cast<A>(total / static_cast<double>(s.batch * s.queries));
  });
}

// A thread copies a channel of a key and its value.
template <class T>
void append(const Tensor& k, const Tensor& v, const Tensor& k_cache, const Tensor& v_cache, TokenPosition position,
            std::int64_t rows_per_token) {
  const Rows<T> keys(k);
  const Rows<T> values(v);
  const Rows<T> to_keys(k_cache);
  const Rows<T> to_values(v_cache);
  const std::int64_t rows = k.dim(1);
  const std::int64_t capacity = k_cache.dim(1);
  for_each_cell("attention_append", k.device(), keys.count, keys.width, [=] __device__(std::int64_t r, std::int64_t c) {
    const std::int64_t slot = (position.value() * rows_per_token + r % rows) % capacity;
    const std::int64_t to = r / rows * capacity + slot;
    to_keys[to][c] = keys[r][c];
    to_values[to][c] = values[r][c];
  });
}

}  // namespace

bool has_warpgroup_attention(Device device) { return warpgroup::available(device); }

AttentionImplementation attention_forward(AttentionImplementation highest, const Tensor& q, const Tensor& k,
                                          const Tensor& v, std::int64_t length, std::int64_t keys_per_token,
                                          const AttentionOptions& options, const Tensor& out, const Tensor& lse) {
  const AttentionSizes s(q, length, keys_per_token, options);
  const AttentionImplementation implementation = std::min(highest, implementation_of(q, s, {&q, &k, &v, &out}));
  dispatch_float(q.dtype(), "attention", [&]<class T>() {
    const AttentionRows<T> x(s, q, k, v, out, lse);
    if constexpr (std::is_same_v<T, bf16>) {
      if (implementation == AttentionImplementation::warpgroup) return warpgroup::forward(q.device(), s, x);
    }
    if constexpr (!std::is_same_v<T, double>) {
      if (implementation == AttentionImplementation::tensor_core) return tensor_core::forward<T>(q.device(), s, x);
      if (implementation == AttentionImplementation::tiled) return tiled::forward<T>(q.device(), s, x);
    }
    naive::forward<T>(q.device(), s, x);
  });
  return implementation;
}

AttentionImplementation attention_backward(AttentionImplementation highest, const Tensor& q, const Tensor& k,
                                           const Tensor& v, const Tensor& out, const Tensor& lse, const Tensor& dout,
                                           std::int64_t keys_per_token, const AttentionOptions& options,
                                           const GradTarget& dq, const GradTarget& dk, const GradTarget& dv) {
  const AttentionSizes s(q, k.dim(1), keys_per_token, options);
  // Queries that see one key: the probability is 1 whatever the score, so the gradients of q and k are 0. The kernels
  // would leave the rounding of a difference, which Adam takes for a gradient.
  if (options.window == 1 && keys_per_token == 1 && (dq.tensor.defined() || dk.tensor.defined())) {
    for (const GradTarget* target : {&dq, &dk}) {
      if (target->tensor.defined() && !target->add) target->tensor.fill(0);
    }
    return attention_backward(highest, q, k, v, out, lse, dout, keys_per_token, options, {}, {}, dv);
  }
  const AttentionImplementation implementation =
      std::min(highest, implementation_of(q, s, {&q, &k, &v, &out, &dout, &dq.tensor, &dk.tensor, &dv.tensor}));
  dispatch_float(q.dtype(), "attention", [&]<class T>() {
    const Tensor delta = Tensor::empty(lse.shape(), lse.dtype(), q.device());
    const AttentionGradient<T> g(s, q, k, v, out, lse, dout, delta, dq, dk, dv);
    if constexpr (std::is_same_v<T, bf16>) {
      if (implementation == AttentionImplementation::warpgroup) return warpgroup::backward(q.device(), s, g);
    }
    if constexpr (!std::is_same_v<T, double>) {
      if (implementation == AttentionImplementation::tensor_core) return tensor_core::backward<T>(q.device(), s, g);
      if (implementation == AttentionImplementation::tiled) return tiled::backward<T>(q.device(), s, g);
    }
    naive::backward<T>(q.device(), s, g);
  });
  return implementation;
}

void attention_forward(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t length,
                       std::int64_t keys_per_token, const AttentionOptions& options, const Tensor& out,
                       const Tensor& lse) {
  attention_forward(AttentionImplementation::warpgroup, q, k, v, length, keys_per_token, options, out, lse);
}

void attention_append(const Tensor& k, const Tensor& v, const Tensor& k_cache, const Tensor& v_cache,
                      TokenPosition position, std::int64_t rows_per_token) {
  dispatch_float(k.dtype(), "attention_append",
                 [&]<class T>() { append<T>(k, v, k_cache, v_cache, position, rows_per_token); });
}

void attention_backward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out, const Tensor& lse,
                        const Tensor& dout, std::int64_t keys_per_token, const AttentionOptions& options,
                        const GradTarget& dq, const GradTarget& dk, const GradTarget& dv) {
  attention_backward(AttentionImplementation::warpgroup, q, k, v, out, lse, dout, keys_per_token, options, dq, dk, dv);
}

void attention_recency(const Tensor& q, const Tensor& k, const Tensor& lse, std::int64_t recency_window,
                       const AttentionOptions& options, const Tensor& ratio) {
  const AttentionSizes s(q, k.dim(1), 1, options);
  dispatch_float(q.dtype(), "attention_recency", [&]<class T>() { recency<T>(q, k, lse, recency_window, s, ratio); });
}

}  // namespace mixgrad::cuda
