// The pieces that the attention kernels on the CPU share: which keys a query sees, and blocks of one head's rows.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/scratch.h"
#include "core/vec_math.h"
#include "ops/attention/attention.h"
#include "ops/attention/attention_block_sizes.h"
#include "ops/matmul/matmul.h"
#include "ops/support/target.h"

namespace mixgrad::cpu::blocks {

// Queries that are worked on together: their scores against all visible keys are one small matrix per thread.
inline std::int64_t query_block(std::int64_t keys) {
  return keys <= kAttentionFewKeys ? kAttentionSmallBlock : kAttentionLargeBlock;
}

// Each token brings `keys_per_token` rows of keys, one after the other.
struct Sizes {
  std::int64_t batch, queries, keys, keys_per_token, past, heads, kv_heads, head_dim, window, block;

  Sizes(const Tensor& q, std::int64_t length, std::int64_t per_token, const AttentionOptions& options)
      : batch(q.dim(0)),
        queries(q.dim(1)),
        keys(length),
        keys_per_token(per_token),
        past(length / per_token - q.dim(1)),
        heads(options.heads),
        kv_heads(options.kv_heads),
        head_dim(q.cols() / options.heads),
        window(options.window),
        block(query_block(length)) {}

  std::int64_t blocks() const { return (queries + block - 1) / block; }
  std::int64_t first_visible(std::int64_t i) const {
    return window > 0 ? std::max<std::int64_t>(0, past + i - window + 1) * keys_per_token : 0;
  }
  std::int64_t end_visible(std::int64_t i) const { return (past + i + 1) * keys_per_token; }
};

// Vectors of one head of width head_dim, `stride` apart, in the type in which they are multiplied.
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
  T* to = x.data<T>() + (b * x.dim(1) + first) * x.row_stride() + head * head_dim;
  for (std::int64_t r = 0; r < rows; ++r, to += x.row_stride(), values += head_dim) {
    for (std::int64_t c = 0; c < head_dim; ++c) put(to[c], add, values[c]);
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

// c[rows, dh] = weights[rows, width] values[width, dh] for the queries from `first` on and the keys from `low` on; the
// weights of keys that a query does not see are 0. As 0 * NaN is NaN, so is a row of c that sees no such value while a
// later row of the block does. Where a sum is NaN, each row of the block is therefore computed once more, with zeros in
// place of the values that it must not see: the other rows keep their bits (law 1 of ops/matmul/matmul.h).
template <class A>
void visible_product(const Sizes& s, std::int64_t first, std::int64_t rows, std::int64_t low, std::int64_t width,
                     Block<const A> weights, Block<const A> values, Block<A> c) {
  product<A>(rows, s.head_dim, width, weights, false, values, false, c, false);
  int nan = 0;
  for (std::int64_t i = 0; i < rows; ++i) {
    const A* row = c.data + i * c.stride;
#pragma omp simd reduction(| : nan)
    for (std::int64_t x = 0; x < s.head_dim; ++x) {
      nan |= static_cast<int>(row[x] != row[x]);  // NOLINT(misc-redundant-expression): true of NaN alone
    }
  }
  if (nan == 0) return;
  A* seen = thread_scratch<A, 10>(width * s.head_dim);
  for (std::int64_t i = 0; i < rows; ++i) {
    const std::int64_t begin = s.first_visible(first + i) - low;
    const std::int64_t end = s.end_visible(first + i) - low;
    std::fill_n(seen, width * s.head_dim, A(0));
    for (std::int64_t j = begin; j < end; ++j) {
      std::copy_n(values.data + j * values.stride, s.head_dim, seen + j * s.head_dim);
    }
    product<A>(1, s.head_dim, width, {weights.data + i * weights.stride, weights.stride}, false, {seen, s.head_dim},
               false, {c.data + i * c.stride, c.stride}, false);
  }
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

}  // namespace mixgrad::cpu::blocks
