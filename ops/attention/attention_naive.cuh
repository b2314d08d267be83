// The first implementation, naive and obviously right: a block of threads per query (forward, dq) or per key (dk, dv),
// which reads its keys or queries chunk by chunk; probabilities are never stored. Every sum has one order. Any size,
// any dtype.
#pragma once

#include "core/numeric/vec_math.h"
#include "ops/attention/attention_sizes.cuh"

namespace mixgrad::cuda::naive {

template <class A, class T>
__device__ A dot(const A* a, const T* b, std::int64_t width) {
  A sum = 0;
  for (std::int64_t c = 0; c < width; ++c) sum += a[c] * A(b[c]);
  return sum;
}

// Shared memory of a block: `rows` rows of head_dim, and two values per thread.
template <class A>
std::size_t shared_bytes(const AttentionSizes& s, int rows) {
  return static_cast<std::size_t>(rows * s.head_dim + 2 * kRowThreads) * sizeof(A);
}

// out and lse of query blockIdx.x = (b, head, i), with running maximum and sum over chunks of keys.
template <class T, class A>
__device__ void forward_query(const AttentionSizes& s, const HeadRows<const T>& q, const HeadRows<const T>& k,
                              const HeadRows<const T>& v, const HeadRows<T>& out, A* lse, A scale) {
  const std::int64_t i = blockIdx.x % s.queries;
  const std::int64_t head = blockIdx.x / s.queries % s.heads;
  const std::int64_t b = blockIdx.x / s.queries / s.heads;
  const std::int64_t group = head / (s.heads / s.kv_heads);
  const std::int64_t dh = s.head_dim;
  A* query = shared<A>();
  A* sums = query + dh;
  A* weights = sums + dh;
  for (std::int64_t c = threadIdx.x; c < dh; c += kRowThreads) {
    query[c] = A(q.at(b, i, head)[c]);
    sums[c] = 0;
  }
  __syncthreads();
  A top = -INFINITY;
  A total = 0;
  const HeadDropout<A> drop(s, b, head);
  const std::int64_t end = s.end_key(i);
  for (std::int64_t first = s.first_key(i); first < end; first += kRowThreads) {
    const std::int64_t j = first + threadIdx.x;
    const A score = j < end ? dot(query, k.at(b, j, group), dh) * scale : A(-INFINITY);
    const A chunk_top = block_max(score);
    const A next = chunk_top > top ? chunk_top : top;
    const A weight = j < end ? exp_value(score - next) : A(0);
    const A shrink = total == A(0) ? A(0) : exp_value(top - next);
    weights[threadIdx.x] = s.dropout.active() && j < end ? dropped(drop.at(i, j), weight) : weight;
    total = total * shrink + block_sum(weight);
    const std::int64_t here = end - first < kRowThreads ? end - first : kRowThreads;
    for (std::int64_t c = threadIdx.x; c < dh; c += kRowThreads) {
      A sum = sums[c] * shrink;
      for (std::int64_t n = 0; n < here; ++n) sum += weights[n] * A(v.at(b, first + n, group)[c]);
      sums[c] = sum;
    }
    top = next;
    __syncthreads();
  }
  for (std::int64_t c = threadIdx.x; c < dh; c += kRowThreads) out.at(b, i, head)[c] = static_cast<T>(sums[c] / total);
  if (lse != nullptr && threadIdx.x == 0) lse[blockIdx.x] = top + std::log(total);
}

template <class T, class A>
__global__ void forward_kernel(AttentionSizes s, HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v,
                               HeadRows<T> out, A* lse, A scale) {
  forward_query(s, q, k, v, out, lse, scale);
}

// The one query of the token at `position`; s is that of a full cache.
template <class T, class A>
__global__ void step_kernel(AttentionSizes s, TokenPosition position, HeadRows<const T> q, HeadRows<const T> k,
                            HeadRows<const T> v, HeadRows<T> out, A scale) {
  const std::int64_t before = position.value();
  s.past = before < s.past ? before : s.past;
  forward_query(s, q, k, v, out, static_cast<A*>(nullptr), scale);
}

// dq of query blockIdx.x = (b, head, i).
template <class T, class A>
__global__ void query_gradient_kernel(AttentionSizes s, HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v,
                                      HeadRows<const T> dout, const A* lse, const A* delta, HeadRows<T> dq, bool add,
                                      A scale) {
  const std::int64_t i = blockIdx.x % s.queries;
  const std::int64_t head = blockIdx.x / s.queries % s.heads;
  const std::int64_t b = blockIdx.x / s.queries / s.heads;
  const std::int64_t group = head / (s.heads / s.kv_heads);
  const std::int64_t dh = s.head_dim;
  A* query = shared<A>();
  A* up = query + dh;
  A* sums = up + dh;
  A* slopes = sums + dh;
  for (std::int64_t c = threadIdx.x; c < dh; c += kRowThreads) {
    query[c] = A(q.at(b, i, head)[c]);
    up[c] = A(dout.at(b, i, head)[c]);
    sums[c] = 0;
  }
  __syncthreads();
  const A shift = lse[blockIdx.x];
  const A mean = delta[blockIdx.x];
  const HeadDropout<A> drop(s, b, head);
  const std::int64_t end = s.end_key(i);
  for (std::int64_t first = s.first_key(i); first < end; first += kRowThreads) {
    const std::int64_t j = first + threadIdx.x;
    A slope = 0;
    if (j < end) {
      const A p = exp_value(dot(query, k.at(b, j, group), dh) * scale - shift);
      A up_value = dot(up, v.at(b, j, group), dh);
      if (s.dropout.active()) up_value = dropped(drop.at(i, j), up_value);
      slope = p * (up_value - mean) * scale;
    }
    slopes[threadIdx.x] = slope;
    __syncthreads();
    const std::int64_t here = end - first < kRowThreads ? end - first : kRowThreads;
    for (std::int64_t c = threadIdx.x; c < dh; c += kRowThreads) {
      A sum = sums[c];
      for (std::int64_t n = 0; n < here; ++n) sum += slopes[n] * A(k.at(b, first + n, group)[c]);
      sums[c] = sum;
    }
    __syncthreads();
  }
  for (std::int64_t c = threadIdx.x; c < dh; c += kRowThreads) {
    T& element = dq.at(b, i, head)[c];
    element = static_cast<T>(add ? A(element) + sums[c] : sums[c]);
  }
}

// dk and dv of key blockIdx.x = (b, group, j), over the heads of the group and the queries that see it.
template <class T, class A>
__global__ void key_gradient_kernel(AttentionSizes s, HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v,
                                    HeadRows<const T> dout, const A* lse, const A* delta, HeadRows<T> dk, bool add_k,
                                    HeadRows<T> dv, bool add_v, A scale) {
  const std::int64_t j = blockIdx.x % s.keys;
  const std::int64_t group = blockIdx.x / s.keys % s.kv_heads;
  const std::int64_t b = blockIdx.x / s.keys / s.kv_heads;
  const std::int64_t dh = s.head_dim;
  const std::int64_t per_group = s.heads / s.kv_heads;
  A* key = shared<A>();
  A* value = key + dh;
  A* sums_k = value + dh;
  A* sums_v = sums_k + dh;
  A* slopes = sums_v + dh;
  A* weights = slopes + kRowThreads;
  for (std::int64_t c = threadIdx.x; c < dh; c += kRowThreads) {
    key[c] = A(k.at(b, j, group)[c]);
    value[c] = A(v.at(b, j, group)[c]);
    sums_k[c] = 0;
    sums_v[c] = 0;
  }
  __syncthreads();
  const std::int64_t end = s.end_query(j);
  for (std::int64_t head = group * per_group; head < (group + 1) * per_group; ++head) {
    const HeadDropout<A> drop(s, b, head);
    for (std::int64_t first = s.first_query(j); first < end; first += kRowThreads) {
      const std::int64_t i = first + threadIdx.x;
      A weight = 0;
      A slope = 0;
      if (i < end) {
        const std::int64_t row = (b * s.heads + head) * s.queries + i;
        weight = exp_value(dot(key, q.at(b, i, head), dh) * scale - lse[row]);
        const A up_value = dot(value, dout.at(b, i, head), dh);
        if (s.dropout.active()) {
          const A factor = drop.at(i, j);
          slope = weight * (dropped(factor, up_value) - delta[row]) * scale;
          weight = dropped(factor, weight);
        } else {
          slope = weight * (up_value - delta[row]) * scale;
        }
      }
      weights[threadIdx.x] = weight;
      slopes[threadIdx.x] = slope;
      __syncthreads();
      const std::int64_t here = end - first < kRowThreads ? end - first : kRowThreads;
      for (std::int64_t c = threadIdx.x; c < dh; c += kRowThreads) {
        A sum_k = sums_k[c];
        A sum_v = sums_v[c];
        for (std::int64_t n = 0; n < here; ++n) {
          sum_k += slopes[n] * A(q.at(b, first + n, head)[c]);
          sum_v += weights[n] * A(dout.at(b, first + n, head)[c]);
        }
        sums_k[c] = sum_k;
        sums_v[c] = sum_v;
      }
      __syncthreads();
    }
  }
  for (std::int64_t c = threadIdx.x; c < dh; c += kRowThreads) {
    if (dk.data != nullptr) {
      T& element = dk.at(b, j, group)[c];
      element = static_cast<T>(add_k ? A(element) + sums_k[c] : sums_k[c]);
    }
    if (dv.data != nullptr) {
      T& element = dv.at(b, j, group)[c];
      element = static_cast<T>(add_v ? A(element) + sums_v[c] : sums_v[c]);
    }
  }
}

template <class T>
void forward(Device device, const AttentionSizes& s, const AttentionRows<T>& x) {
  using A = acc_t<T>;
  launch_attention(forward_kernel<T, A>, device, s.batch * s.heads * s.queries, kRowThreads, shared_bytes<A>(s, 2), s,
                   x.q, x.k, x.v, x.out, x.lse, A(1) / std::sqrt(A(s.head_dim)));
}

template <class T>
void step(Device device, const AttentionSizes& s, TokenPosition position, const AttentionRows<T>& x) {
  using A = acc_t<T>;
  launch_attention(step_kernel<T, A>, device, s.batch * s.heads, kRowThreads, shared_bytes<A>(s, 2), s, position, x.q,
                   x.k, x.v, x.out, A(1) / std::sqrt(A(s.head_dim)));
}

// delta [B,H,T] = dout . out of each query head.
template <class T>
void row_products(Device device, const AttentionSizes& s, const AttentionGradient<T>& g) {
  using A = acc_t<T>;
  for_each("attention", device, s.batch * s.heads * s.queries, [=] __device__(std::int64_t row) {
    const std::int64_t i = row % s.queries;
    const std::int64_t head = row / s.queries % s.heads;
    const std::int64_t b = row / s.queries / s.heads;
    A sum = 0;
    for (std::int64_t c = 0; c < s.head_dim; ++c) sum += A(g.dout.at(b, i, head)[c]) * A(g.out.at(b, i, head)[c]);
    g.delta[row] = sum;
  });
}

template <class T>
void backward(Device device, const AttentionSizes& s, const AttentionGradient<T>& g) {
  using A = acc_t<T>;
  row_products<T>(device, s, g);
  const A scale = A(1) / std::sqrt(A(s.head_dim));
  if (g.dq.data != nullptr) {
    launch_attention(query_gradient_kernel<T, A>, device, s.batch * s.heads * s.queries, kRowThreads,
                     shared_bytes<A>(s, 3), s, g.q, g.k, g.v, g.dout, g.lse, g.delta, g.dq, g.add_q, scale);
  }
  if (g.dk.data != nullptr || g.dv.data != nullptr) {
    launch_attention(key_gradient_kernel<T, A>, device, s.batch * s.kv_heads * s.keys, kRowThreads,
                     shared_bytes<A>(s, 4), s, g.q, g.k, g.v, g.dout, g.lse, g.delta, g.dk, g.add_k, g.dv, g.add_v,
                     scale);
  }
}

}  // namespace mixgrad::cuda::naive
