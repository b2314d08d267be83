// What the attention kernels of the CPU share: which keys a query sees, and products of blocks of one head's rows.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/numeric/vec_math.h"
#include "core/scratch.h"
#include "ops/attention/attention.h"
#include "ops/attention/attention_block_sizes.h"
#include "ops/dropout/dropout_factors.h"
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
  DropoutMask dropout;

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
        block(query_block(length)),
        dropout(options.dropout) {}

  std::int64_t blocks() const { return (queries + block - 1) / block; }
  std::int64_t first_visible(std::int64_t i) const {
    return window > 0 ? std::max<std::int64_t>(0, past + i - window + 1) * keys_per_token : 0;
  }
  std::int64_t end_visible(std::int64_t i) const { return (past + i + 1) * keys_per_token; }

  // use(j, factors, count) for pieces of the keys [begin, end) that query i sees (dropout_factors.h).
  template <class A, class Use>
  void for_factors(std::int64_t b, std::int64_t head, std::int64_t i, std::int64_t begin, std::int64_t end,
                   const Use& use) const {
    const std::int64_t row = (b * heads + head) * queries + i;
    const auto first = static_cast<std::uint64_t>(row * dropout_row(keys) + begin);
    for_dropout_factors<A>(dropout, dropout.stream(), first, end - begin,
                           [&](std::int64_t at, const A* f, std::int64_t count) { use(begin + at, f, count); });
  }
};

// Scratch memory of a task. Two uses at a time need two names.
enum class Scratch : int {
  scores,  // or probabilities
  score_gradients,
  result,
  queries,
  keys,
  values,
  inverse_sums,
  key_gradients,
  value_gradients,
  out_gradients,
  outs,
  query_gradients,
  visible_values,
};

template <class A, Scratch Use>
A* scratch(std::int64_t count) {
  return thread_scratch<A, static_cast<int>(Use)>(count);
}

// A matrix in memory, its rows `stride` apart.
template <class A>
struct Block {
  A* data;
  std::int64_t stride, rows, columns;
};

// [rows, columns], dense.
template <class A>
Block<A> dense(A* data, std::int64_t rows, std::int64_t columns) {
  return {data, columns, rows, columns};
}

// The head's rows [first, first + rows) of batch b, [rows, head_dim]; bf16 is widened into the task's scratch memory,
// other dtypes are read in place.
template <class T, Scratch Use>
Block<const acc_t<T>> load(const Tensor& x, std::int64_t b, std::int64_t first, std::int64_t rows, std::int64_t head,
                           std::int64_t head_dim) {
  using A = acc_t<T>;
  const T* from = x.data<T>() + (b * x.dim(1) + first) * x.row_stride() + head * head_dim;
  if constexpr (std::is_same_v<T, A>) {
    return {from, x.row_stride(), rows, head_dim};
  } else {
    A* to = scratch<A, Use>(rows * head_dim);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < head_dim; ++c) to[r * head_dim + c] = A(from[r * x.row_stride() + c]);
    }
    return {to, head_dim, rows, head_dim};
  }
}

// (+)= values [rows, head_dim] into the head's rows of a tensor.
template <class T>
void store(const Tensor& x, std::int64_t b, std::int64_t first, std::int64_t head, Block<acc_t<T>> values, bool add) {
  T* to = x.data<T>() + (b * x.dim(1) + first) * x.row_stride() + head * values.columns;
  const acc_t<T>* from = values.data;
  for (std::int64_t r = 0; r < values.rows; ++r, to += x.row_stride(), from += values.stride) {
    for (std::int64_t c = 0; c < values.columns; ++c) put(to[c], add, from[c]);
  }
}

// An operand of a product: a block, or its transpose.
template <class A>
struct Operand {
  Block<const A> block;
  bool transpose = false;

  Operand(Block<const A> plain) : block(plain) {}  // NOLINT(google-explicit-constructor)
  Operand(Block<A> plain)                          // NOLINT(google-explicit-constructor)
      : block{plain.data, plain.stride, plain.rows, plain.columns} {}
  std::int64_t columns() const { return transpose ? block.rows : block.columns; }
};

template <class A>
Operand<A> transposed(Operand<A> x) {
  x.transpose = true;
  return x;
}

template <class A>
struct ProductOptions {
  A scale = A(1);
  bool add = false;
};

// c (+)= scale a b
template <class A>
void product(Block<A> c, const Operand<A>& a, const Operand<A>& b, const ProductOptions<A>& options = {}) {
  Product<A, A> p{};
  p.m = c.rows;
  p.n = c.columns;
  p.k = a.columns();
  p.a = a.block.data;
  p.lda = a.block.stride;
  p.transpose_a = a.transpose;
  p.b = b.block.data;
  p.ldb = b.block.stride;
  p.transpose_b = b.transpose;
  p.c = c.data;
  p.ldc = c.stride;
  p.alpha = options.scale;
  p.accumulate = options.add;
  matmul_serial(p);
}

// c[rows, dh] = weights[rows, width] values[width, dh] for the queries from `first` on and the keys from `low` on; the
// weights of keys that a query does not see are 0. As 0 * NaN is NaN, so is a row of c that sees no such value while a
// later row of the block does. Where a sum is NaN, each row of the block is therefore computed once more, with zeros
// instead of the values that it must not see: the other rows keep their bits (law 1 of ops/matmul/matmul.h).
template <class A>
void visible_product(const Sizes& s, std::int64_t first, std::int64_t low, Block<A> weights, Block<const A> values,
                     Block<A> c) {
  product<A>(c, weights, values);
  int nan = 0;
  for (std::int64_t i = 0; i < c.rows; ++i) {
    const A* row = c.data + i * c.stride;
#pragma omp simd reduction(| : nan)
    for (std::int64_t x = 0; x < c.columns; ++x) {
      nan |= static_cast<int>(row[x] != row[x]);  // NOLINT(misc-redundant-expression): true of NaN alone
    }
  }
  if (nan == 0) return;
  const std::int64_t count = values.rows * values.columns;
  A* seen = scratch<A, Scratch::visible_values>(count);
  for (std::int64_t i = 0; i < c.rows; ++i) {
    const std::int64_t begin = s.first_visible(first + i) - low;
    const std::int64_t end = s.end_visible(first + i) - low;
    std::fill_n(seen, count, A(0));
    for (std::int64_t j = begin; j < end; ++j) {
      std::copy_n(values.data + j * values.stride, values.columns, seen + j * values.columns);
    }
    product<A>({c.data + i * c.stride, c.stride, 1, c.columns},
               Block<A>{weights.data + i * weights.stride, weights.stride, 1, weights.columns},
               dense(seen, values.rows, values.columns));
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
