// The first rung: a block of threads per query (forward, dq) or per key (dk, dv), chunk by chunk of what it meets;
// probabilities are never stored. Every sum has one order.
#include "core/cuda_launch.cuh"
#include "core/vec_math.h"
#include "ops/attention/attention_kernels.h"

namespace mixgrad::cuda {
namespace {

struct Sizes {
  std::int64_t batch, queries, keys, past, per_token, heads, kv_heads, head_dim, window;

  Sizes(const Tensor& q, std::int64_t length, std::int64_t keys_per_token, const AttentionOptions& options)
      : batch(q.dim(0)),
        queries(q.dim(1)),
        keys(length),
        past(length / keys_per_token - q.dim(1)),
        per_token(keys_per_token),
        heads(options.heads),
        kv_heads(options.kv_heads),
        head_dim(q.cols() / options.heads),
        window(options.window) {}

  // Rows of keys that query i sees, and queries that see row j.
  __device__ std::int64_t first_key(std::int64_t i) const {
    const std::int64_t token = past + i - window + 1;
    return window > 0 && token > 0 ? token * per_token : 0;
  }
  __device__ std::int64_t end_key(std::int64_t i) const { return (past + i + 1) * per_token; }
  __device__ std::int64_t first_query(std::int64_t j) const {
    const std::int64_t token = j / per_token;
    return token > past ? token - past : 0;
  }
  __device__ std::int64_t end_query(std::int64_t j) const {
    const std::int64_t end = j / per_token - past + window;
    return window > 0 && end < queries ? end : queries;
  }
};

// Row (b, t) of one head of a [B, capacity, heads * head_dim] tensor.
template <class T>
struct HeadRows {
  T* data;
  std::int64_t stride, per_batch, head_dim;

  HeadRows(const Tensor& x, std::int64_t width)
      : data(x.defined() ? x.data<std::remove_const_t<T>>() : nullptr),
        stride(x.row_stride()),
        per_batch(x.defined() ? x.dim(1) * x.row_stride() : 0),
        head_dim(width) {}
  __device__ T* at(std::int64_t b, std::int64_t t, std::int64_t head) const {
    return data + b * per_batch + t * stride + head * head_dim;
  }
};

template <class A, class T>
__device__ A dot(const A* a, const T* b, std::int64_t width) {
  A sum = 0;
  for (std::int64_t c = 0; c < width; ++c) sum += a[c] * A(b[c]);
  return sum;
}

// Shared memory of a block: `rows` rows of head_dim, and two values per thread.
template <class A>
std::size_t shared_bytes(const Sizes& s, int rows) {
  return static_cast<std::size_t>(rows * s.head_dim + 2 * kRowThreads) * sizeof(A);
}

template <class A>
__device__ A* shared() {
  extern __shared__ double memory[];
  return reinterpret_cast<A*>(memory);
}

template <class Kernel, class... Arguments>
void launch(Kernel kernel, Device device, std::int64_t blocks, std::size_t bytes, const Arguments&... arguments) {
  if (blocks == 0) return;
  const cudaStream_t queue = stream(device);
  if (bytes > 48 * 1024) {
    MIXGRAD_CUDA_CALL("attention", cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                        static_cast<int>(bytes)));
  }
  const dim3 grid(static_cast<unsigned>(blocks));
  kernel<<<grid, kRowThreads, bytes, queue>>>(arguments...);
  check_launch("attention", grid, kRowThreads);
}

// out and lse of query blockIdx.x = (b, head, i), with running maximum and sum over chunks of keys.
template <class T, class A>
__global__ void forward_kernel(Sizes s, HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v, HeadRows<T> out,
                               A* lse, A scale) {
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
  const std::int64_t end = s.end_key(i);
  for (std::int64_t first = s.first_key(i); first < end; first += kRowThreads) {
    const std::int64_t j = first + threadIdx.x;
    const A score = j < end ? dot(query, k.at(b, j, group), dh) * scale : A(-INFINITY);
    const A chunk_top = block_max(score);
    const A next = chunk_top > top ? chunk_top : top;
    const A weight = j < end ? exp_value(score - next) : A(0);
    const A shrink = total == A(0) ? A(0) : exp_value(top - next);
    weights[threadIdx.x] = weight;
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

// dq of query blockIdx.x = (b, head, i).
template <class T, class A>
__global__ void query_gradient_kernel(Sizes s, HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v,
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
  const std::int64_t end = s.end_key(i);
  for (std::int64_t first = s.first_key(i); first < end; first += kRowThreads) {
    const std::int64_t j = first + threadIdx.x;
    A slope = 0;
    if (j < end) {
      const A p = exp_value(dot(query, k.at(b, j, group), dh) * scale - shift);
      slope = p * (dot(up, v.at(b, j, group), dh) - mean) * scale;
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
    T& place = dq.at(b, i, head)[c];
    place = static_cast<T>(add ? A(place) + sums[c] : sums[c]);
  }
}

// dk and dv of key blockIdx.x = (b, group, j), over the heads of the group and the queries that see it.
template <class T, class A>
__global__ void key_gradient_kernel(Sizes s, HeadRows<const T> q, HeadRows<const T> k, HeadRows<const T> v,
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
    for (std::int64_t first = s.first_query(j); first < end; first += kRowThreads) {
      const std::int64_t i = first + threadIdx.x;
      A weight = 0;
      A slope = 0;
      if (i < end) {
        const std::int64_t row = (b * s.heads + head) * s.queries + i;
        weight = exp_value(dot(key, q.at(b, i, head), dh) * scale - lse[row]);
        slope = weight * (dot(value, dout.at(b, i, head), dh) - delta[row]) * scale;
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
      T& place = dk.at(b, j, group)[c];
      place = static_cast<T>(add_k ? A(place) + sums_k[c] : sums_k[c]);
    }
    if (dv.data != nullptr) {
      T& place = dv.at(b, j, group)[c];
      place = static_cast<T>(add_v ? A(place) + sums_v[c] : sums_v[c]);
    }
  }
}

template <class T>
void forward(const Tensor& q, const Tensor& k, const Tensor& v, const Sizes& s, const Tensor& out, const Tensor& lse) {
  using A = acc_t<T>;
  launch(forward_kernel<T, A>, q.device(), s.batch * s.heads * s.queries, shared_bytes<A>(s, 2), s,
         HeadRows<const T>(q, s.head_dim), HeadRows<const T>(k, s.head_dim), HeadRows<const T>(v, s.head_dim),
         HeadRows<T>(out, s.head_dim), lse.defined() ? lse.data<A>() : nullptr, A(1) / std::sqrt(A(s.head_dim)));
}

// delta [B,H,T] = dout . out of each query head.
template <class T>
void row_products(const Tensor& dout, const Tensor& out, const Sizes& s, const Tensor& delta) {
  using A = acc_t<T>;
  const HeadRows<const T> up(dout, s.head_dim);
  const HeadRows<const T> result(out, s.head_dim);
  A* to = delta.data<A>();
  for_each("attention", dout.device(), delta.numel(), [=] __device__(std::int64_t row) {
    const std::int64_t i = row % s.queries;
    const std::int64_t head = row / s.queries % s.heads;
    const std::int64_t b = row / s.queries / s.heads;
    A sum = 0;
    for (std::int64_t c = 0; c < s.head_dim; ++c) sum += A(up.at(b, i, head)[c]) * A(result.at(b, i, head)[c]);
    to[row] = sum;
  });
}

template <class T>
void backward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out, const Tensor& lse,
              const Tensor& dout, const Sizes& s, const GradTarget& dq, const GradTarget& dk, const GradTarget& dv) {
  using A = acc_t<T>;
  const Tensor delta = Tensor::empty({s.batch, s.heads, s.queries}, dtype_of<A>(), q.device());
  row_products<T>(dout, out, s, delta);
  const A scale = A(1) / std::sqrt(A(s.head_dim));
  const auto rows = [&](const Tensor& x) { return HeadRows<const T>(x, s.head_dim); };
  const auto to = [&](const GradTarget& x) { return HeadRows<T>(x.tensor, s.head_dim); };
  const A* lses = lse.data<A>();
  const A* deltas = delta.data<A>();
  if (dq.tensor.defined()) {
    launch(query_gradient_kernel<T, A>, q.device(), s.batch * s.heads * s.queries, shared_bytes<A>(s, 3), s, rows(q),
           rows(k), rows(v), rows(dout), lses, deltas, to(dq), dq.add, scale);
  }
  if (dk.tensor.defined() || dv.tensor.defined()) {
    launch(key_gradient_kernel<T, A>, q.device(), s.batch * s.kv_heads * s.keys, shared_bytes<A>(s, 4), s, rows(q),
           rows(k), rows(v), rows(dout), lses, deltas, to(dk), dk.add, to(dv), dv.add, scale);
  }
}

// One block per head; a thread takes every kRowThreads-th query.
template <class T>
void recency(const Tensor& q, const Tensor& k, const Tensor& lse, std::int64_t recency_window, const Sizes& s,
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

}  // namespace

void attention_forward(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t length,
                       std::int64_t keys_per_token, const AttentionOptions& options, const Tensor& out,
                       const Tensor& lse) {
  const Sizes s(q, length, keys_per_token, options);
  dispatch_float(q.dtype(), "attention", [&]<class T>() { forward<T>(q, k, v, s, out, lse); });
}

void attention_backward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out, const Tensor& lse,
                        const Tensor& dout, std::int64_t keys_per_token, const AttentionOptions& options,
                        const GradTarget& dq, const GradTarget& dk, const GradTarget& dv) {
  const Sizes s(q, k.dim(1), keys_per_token, options);
  dispatch_float(q.dtype(), "attention", [&]<class T>() { backward<T>(q, k, v, out, lse, dout, s, dq, dk, dv); });
}

void attention_recency(const Tensor& q, const Tensor& k, const Tensor& lse, std::int64_t recency_window,
                       const AttentionOptions& options, const Tensor& ratio) {
  const Sizes s(q, k.dim(1), 1, options);
  dispatch_float(q.dtype(), "attention_recency", [&]<class T>() { recency<T>(q, k, lse, recency_window, s, ratio); });
}

}  // namespace mixgrad::cuda
