#include <algorithm>
#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "core/vec_math.h"
#include "ops/attention/attention_kernels.h"
#include "ops/matmul/matmul.h"
#include "ops/scratch.h"

namespace mixgrad::cpu {
namespace {

// Queries that are worked on together: their scores against all visible keys are one small matrix per thread. Smaller
// blocks compute less of the masked triangle, larger ones make better products.
std::int64_t query_block(std::int64_t keys) { return keys <= 128 ? 32 : 64; }

struct Sizes {
  std::int64_t batch, queries, keys, past, heads, kv_heads, head_dim, window, block;

  Sizes(const Tensor& q, std::int64_t length, const AttentionOptions& options)
      : batch(q.dim(0)),
        queries(q.dim(1)),
        keys(length),
        past(length - q.dim(1)),
        heads(options.heads),
        kv_heads(options.kv_heads),
        head_dim(q.cols() / options.heads),
        window(options.window),
        block(query_block(length)) {}

  std::int64_t blocks() const { return (queries + block - 1) / block; }
  std::int64_t first_visible(std::int64_t i) const {
    return window > 0 ? std::max<std::int64_t>(0, past + i - window + 1) : 0;
  }
  std::int64_t end_visible(std::int64_t i) const { return past + i + 1; }
};

// Rows of one head: `rows` vectors of width head_dim, `stride` apart, in the type in which they are multiplied.
template <class A>
struct Block {
  A* data;
  std::int64_t stride;
};

// The head's rows [first, first + rows) of batch b; bf16 is widened into the thread's scratch, others are read in
// place.
template <class T, int Slot>
Block<const acc_t<T>> load(const Tensor& x, std::int64_t b, std::int64_t first, std::int64_t rows, std::int64_t head,
                           std::int64_t head_dim) {
  using A = acc_t<T>;
  const T* from = x.data<T>() + (b * x.dim(1) + first) * x.row_stride() + head * head_dim;
  if constexpr (std::is_same_v<T, A>) {
    return {from, x.row_stride()};
  } else {
    A* to = thread_scratch<A, Slot>(rows * head_dim);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < head_dim; ++c) to[r * head_dim + c] = A(from[r * x.row_stride() + c]);
    }
    return {to, head_dim};
  }
}

// (+)= values [rows, head_dim], dense, into the head's rows of a tensor.
template <class T>
void store(const Tensor& x, std::int64_t b, std::int64_t first, std::int64_t rows, std::int64_t head,
           std::int64_t head_dim, const acc_t<T>* values, bool add) {
  using A = acc_t<T>;
  T* to = x.data<T>() + (b * x.dim(1) + first) * x.row_stride() + head * head_dim;
  for (std::int64_t r = 0; r < rows; ++r, to += x.row_stride(), values += head_dim) {
    for (std::int64_t c = 0; c < head_dim; ++c) to[c] = static_cast<T>(add ? A(to[c]) + values[c] : values[c]);
  }
}

// c[m,n] (+)= alpha op(a) op(b)
template <class A>
void product(std::int64_t m, std::int64_t n, std::int64_t k, Block<const A> a, bool transpose_a, Block<const A> b,
             bool transpose_b, Block<A> c, bool accumulate, A alpha = A(1)) {
  Product<A, A> p{};
  p.m = m;
  p.n = n;
  p.k = k;
  p.a = a.data;
  p.lda = a.stride;
  p.transpose_a = transpose_a;
  p.b = b.data;
  p.ldb = b.stride;
  p.transpose_b = transpose_b;
  p.c = c.data;
  p.ldc = c.stride;
  p.alpha = alpha;
  p.accumulate = accumulate;
  matmul_serial(p);
}

// Scores to probabilities up to the factor 1/sum, in place; masked ones become 0. Returns {max, sum}.
template <class A>
std::pair<A, A> exponentials(A* row, std::int64_t begin, std::int64_t end, std::int64_t width) {
  A top = -std::numeric_limits<A>::infinity();
#pragma omp simd reduction(max : top)
  for (std::int64_t j = begin; j < end; ++j) top = row[j] > top ? row[j] : top;
  std::fill(row, row + begin, A(0));
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t j = begin; j < end; ++j) {
    row[j] = exp_value(row[j] - top);
    sum += row[j];
  }
  std::fill(row + end, row + width, A(0));
  return {top, sum};
}

template <class T>
void forward_block(const Tensor& q, const Tensor& k, const Tensor& v, const Sizes& s, const Tensor& out,
                   const Tensor& lse, std::int64_t b, std::int64_t head, std::int64_t first) {
  using A = acc_t<T>;
  const std::int64_t rows = std::min(s.block, s.queries - first);
  const std::int64_t low = s.first_visible(first);
  const std::int64_t width = s.end_visible(first + rows - 1) - low;
  const std::int64_t group = head / (s.heads / s.kv_heads);
  const A scale = A(1) / std::sqrt(A(s.head_dim));
  A* scores = thread_scratch<A, 0>(rows * width);
  A* result = thread_scratch<A, 1>(rows * s.head_dim);
  const auto queries = load<T, 2>(q, b, first, rows, head, s.head_dim);
  const auto keys = load<T, 3>(k, b, low, width, group, s.head_dim);
  product<A>(rows, width, s.head_dim, queries, false, keys, true, {scores, width}, false, scale);
  A* lse_row = lse.defined() ? lse.data<A>() + (b * s.heads + head) * s.queries + first : nullptr;
  A* inverse = thread_scratch<A, 4>(rows);
  for (std::int64_t i = 0; i < rows; ++i) {
    const auto [top, sum] =
        exponentials(scores + i * width, s.first_visible(first + i) - low, s.end_visible(first + i) - low, width);
    inverse[i] = A(1) / sum;
    if (lse_row != nullptr) lse_row[i] = top + std::log(sum);
  }
  const auto values = load<T, 3>(v, b, low, width, group, s.head_dim);
  product<A>(rows, s.head_dim, width, {scores, width}, false, values, false, {result, s.head_dim}, false);
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t c = 0; c < s.head_dim; ++c) result[i * s.head_dim + c] *= inverse[i];
  }
  store<T>(out, b, first, rows, head, s.head_dim, result, false);
}

// All query heads of one key/value head: dk and dv are summed over heads and query blocks in this order.
template <class T>
void backward_group(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out, const Tensor& lse,
                    const Tensor& dout, const Sizes& s, const GradTarget& dq, const GradTarget& dk,
                    const GradTarget& dv, std::int64_t b, std::int64_t group) {
  using A = acc_t<T>;
  const std::int64_t dh = s.head_dim;
  const A scale = A(1) / std::sqrt(A(dh));
  A* sum_dk = thread_scratch<A, 5>(s.keys * dh);
  A* sum_dv = thread_scratch<A, 6>(s.keys * dh);
  std::fill_n(sum_dk, s.keys * dh, A(0));
  std::fill_n(sum_dv, s.keys * dh, A(0));
  const std::int64_t per_group = s.heads / s.kv_heads;
  for (std::int64_t head = group * per_group; head < (group + 1) * per_group; ++head) {
    for (std::int64_t first = 0; first < s.queries; first += s.block) {
      const std::int64_t rows = std::min(s.block, s.queries - first);
      const std::int64_t low = s.first_visible(first);
      const std::int64_t width = s.end_visible(first + rows - 1) - low;
      A* p = thread_scratch<A, 0>(rows * width);
      A* ds = thread_scratch<A, 1>(rows * width);
      const auto queries = load<T, 2>(q, b, first, rows, head, dh);
      const auto keys = load<T, 3>(k, b, low, width, group, dh);
      const auto values = load<T, 4>(v, b, low, width, group, dh);
      const auto up = load<T, 7>(dout, b, first, rows, head, dh);
      const auto outs = load<T, 8>(out, b, first, rows, head, dh);
      product<A>(rows, width, dh, queries, false, keys, true, {p, width}, false, scale);
      product<A>(rows, width, dh, up, false, values, true, {ds, width}, false);
      const A* lse_row = lse.data<A>() + (b * s.heads + head) * s.queries + first;
      for (std::int64_t i = 0; i < rows; ++i) {
        A* p_row = p + i * width;
        A* ds_row = ds + i * width;
        const std::int64_t begin = s.first_visible(first + i) - low;
        const std::int64_t end = s.end_visible(first + i) - low;
        A delta = 0;
#pragma omp simd reduction(+ : delta)
        for (std::int64_t c = 0; c < dh; ++c) delta += up.data[i * up.stride + c] * outs.data[i * outs.stride + c];
        std::fill(p_row, p_row + begin, A(0));
        std::fill(ds_row, ds_row + begin, A(0));
        const A shift = lse_row[i];
#pragma omp simd
        for (std::int64_t j = begin; j < end; ++j) {
          p_row[j] = exp_value(p_row[j] - shift);
          ds_row[j] = p_row[j] * (ds_row[j] - delta) * scale;
        }
        std::fill(p_row + end, p_row + width, A(0));
        std::fill(ds_row + end, ds_row + width, A(0));
      }
      product<A>(width, dh, rows, {p, width}, true, up, false, {sum_dv + low * dh, dh}, true);
      product<A>(width, dh, rows, {ds, width}, true, queries, false, {sum_dk + low * dh, dh}, true);
      if (dq.tensor.defined()) {
        A* block = thread_scratch<A, 9>(rows * dh);
        product<A>(rows, dh, width, {ds, width}, false, keys, false, {block, dh}, false);
        store<T>(dq.tensor, b, first, rows, head, dh, block, dq.add);
      }
    }
  }
  if (dk.tensor.defined()) store<T>(dk.tensor, b, 0, s.keys, group, dh, sum_dk, dk.add);
  if (dv.tensor.defined()) store<T>(dv.tensor, b, 0, s.keys, group, dh, sum_dv, dv.add);
}

}  // namespace

void attention_forward(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t length,
                       const AttentionOptions& options, const Tensor& out, const Tensor& lse) {
  const Sizes s(q, length, options);
  dispatch_float(q.dtype(), "attention", [&]<class T>() {
    const std::int64_t blocks = s.blocks();
    parallel_for(s.batch * s.heads * blocks, [&](std::int64_t task) {
      // The last blocks see the most keys: they go first, so that threads finish together.
      const std::int64_t block = blocks - 1 - task / (s.batch * s.heads);
      const std::int64_t rest = task % (s.batch * s.heads);
      forward_block<T>(q, k, v, s, out, lse, rest / s.heads, rest % s.heads, block * s.block);
    });
  });
}

void attention_backward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out, const Tensor& lse,
                        const Tensor& dout, const AttentionOptions& options, const GradTarget& dq, const GradTarget& dk,
                        const GradTarget& dv) {
  const Sizes s(q, k.dim(1), options);
  dispatch_float(q.dtype(), "attention", [&]<class T>() {
    parallel_for(s.batch * s.kv_heads, [&](std::int64_t task) {
      backward_group<T>(q, k, v, out, lse, dout, s, dq, dk, dv, task / s.kv_heads, task % s.kv_heads);
    });
  });
}

void attention_recency(const Tensor& q, const Tensor& k, const Tensor& lse, std::int64_t recency_window,
                       const AttentionOptions& options, const Tensor& ratio) {
  const Sizes s(q, k.dim(1), options);
  dispatch_float(q.dtype(), "attention_recency", [&]<class T>() {
    using A = acc_t<T>;
    parallel_for(s.heads, [&](std::int64_t head) {
      const A scale = A(1) / std::sqrt(A(s.head_dim));
      const std::int64_t group = head / (s.heads / s.kv_heads);
      double total = 0;
      for (std::int64_t b = 0; b < s.batch; ++b) {
        for (std::int64_t i = 0; i < s.queries; ++i) {
          const T* query = q.data<T>() + (b * s.queries + i) * q.row_stride() + head * s.head_dim;
          const A shift = lse.data<A>()[(b * s.heads + head) * s.queries + i];
          const std::int64_t at = s.past + i;
          for (std::int64_t j = std::max(s.first_visible(i), at - recency_window); j <= at; ++j) {
            const T* key = k.data<T>() + (b * s.keys + j) * k.row_stride() + group * s.head_dim;
            A dot = 0;
            for (std::int64_t c = 0; c < s.head_dim; ++c) dot += A(query[c]) * A(key[c]);
            total += static_cast<double>(exp_value(dot * scale - shift));
          }
        }
      }
      ratio.data<A>()[head] = static_cast<A>(total / static_cast<double>(s.batch * s.queries));
    });
  });
}

}  // namespace mixgrad::cpu
