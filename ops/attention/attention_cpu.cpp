#include <bit>
#include <cstring>
#include <vector>

#include "core/parallel.h"
#include "ops/attention/attention_blocks.h"
#include "ops/attention/attention_kernels.h"
#include "ops/support/row_tasks.h"

namespace mixgrad::cpu {

using namespace blocks;

namespace {

// Leaves out weights of the queries from `first` on and the keys from `low` on.
template <class A>
void drop_scores(const Sizes& s, std::int64_t b, std::int64_t head, std::int64_t first, std::int64_t low,
                 Block<A> weights) {
  for (std::int64_t i = 0; i < weights.rows; ++i) {
    A* row = weights.data + i * weights.stride;
    const std::int64_t query = first + i;
    s.for_factors<A>(b, head, query, s.first_visible(query), s.end_visible(query),
                     [&](std::int64_t j, const A* factors, std::int64_t count) {
                       A* at = row + j - low;
                       for (std::int64_t n = 0; n < count; ++n) at[n] = factors[n] == A(0) ? A(0) : at[n] * factors[n];
                     });
  }
}

// Probabilities p and products ds = dout . v of one query become f p and p (f ds - delta) scale.
template <class A>
void drop_gradients(const A* factors, std::int64_t count, A delta, A scale, A* p, A* ds) {
  for (std::int64_t n = 0; n < count; ++n) {
    const bool kept = factors[n] != A(0);
    ds[n] = p[n] * ((kept ? factors[n] * ds[n] : A(0)) - delta) * scale;
    p[n] = kept ? factors[n] * p[n] : A(0);
  }
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
  A* scores = scratch<A, Scratch::scores>(rows * width);
  A* result = scratch<A, Scratch::result>(rows * s.head_dim);
  const auto queries = load<T, Scratch::queries>(q, b, first, rows, head, s.head_dim);
  const auto keys = load<T, Scratch::keys>(k, b, low, width, group, s.head_dim);
  product<A>(dense(scores, rows, width), queries, transposed<A>(keys), {.scale = scale});
  A* lse_row = lse.defined() ? lse.data<A>() + (b * s.heads + head) * s.queries + first : nullptr;
  A* inverse = scratch<A, Scratch::inverse_sums>(rows);
  for (std::int64_t i = 0; i < rows; ++i) {
    const auto [top, sum] =
        exponentials(scores + i * width, s.first_visible(first + i) - low, s.end_visible(first + i) - low, width);
    inverse[i] = A(1) / sum;
    if (lse_row != nullptr) lse_row[i] = top + std::log(sum);
  }
  if (s.dropout.active()) drop_scores<A>(s, b, head, first, low, dense(scores, rows, width));
  const auto values = load<T, Scratch::keys>(v, b, low, width, group, s.head_dim);  // the keys are no longer needed
  visible_product<A>(s, first, low, dense(scores, rows, width), values, dense(result, rows, s.head_dim));
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t c = 0; c < s.head_dim; ++c) result[i * s.head_dim + c] *= inverse[i];
  }
  store<T>(out, b, first, head, dense(result, rows, s.head_dim), false);
}

// All query heads of one key/value head: dk and dv are summed over heads and query blocks in this order.
template <class T>
void backward_group(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out, const Tensor& lse,
                    const Tensor& dout, const Sizes& s, const GradTarget& dq, const GradTarget& dk,
                    const GradTarget& dv, std::int64_t b, std::int64_t group) {
  using A = acc_t<T>;
  const std::int64_t dh = s.head_dim;
  const A scale = A(1) / std::sqrt(A(dh));
  A* sum_dk = scratch<A, Scratch::key_gradients>(s.keys * dh);
  A* sum_dv = scratch<A, Scratch::value_gradients>(s.keys * dh);
  std::fill_n(sum_dk, s.keys * dh, A(0));
  std::fill_n(sum_dv, s.keys * dh, A(0));
  const std::int64_t per_group = s.heads / s.kv_heads;
  for (std::int64_t head = group * per_group; head < (group + 1) * per_group; ++head) {
    for (std::int64_t first = 0; first < s.queries; first += s.block) {
      const std::int64_t rows = std::min(s.block, s.queries - first);
      const std::int64_t low = s.first_visible(first);
      const std::int64_t width = s.end_visible(first + rows - 1) - low;
      A* p = scratch<A, Scratch::scores>(rows * width);
      A* ds = scratch<A, Scratch::score_gradients>(rows * width);
      const auto queries = load<T, Scratch::queries>(q, b, first, rows, head, dh);
      const auto keys = load<T, Scratch::keys>(k, b, low, width, group, dh);
      const auto values = load<T, Scratch::values>(v, b, low, width, group, dh);
      const auto up = load<T, Scratch::out_gradients>(dout, b, first, rows, head, dh);
      const auto outs = load<T, Scratch::outs>(out, b, first, rows, head, dh);
      product<A>(dense(p, rows, width), queries, transposed<A>(keys), {.scale = scale});
      product<A>(dense(ds, rows, width), up, transposed<A>(values));
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
        if (s.dropout.active()) {
          for (std::int64_t j = begin; j < end; ++j) p_row[j] = exp_value(p_row[j] - shift);
          s.for_factors<A>(b, head, first + i, begin + low, end + low,
                           [&](std::int64_t j, const A* factors, std::int64_t count) {
                             drop_gradients(factors, count, delta, scale, p_row + j - low, ds_row + j - low);
                           });
        } else {
#pragma omp simd
          for (std::int64_t j = begin; j < end; ++j) {
            p_row[j] = exp_value(p_row[j] - shift);
            ds_row[j] = p_row[j] * (ds_row[j] - delta) * scale;
          }
        }
        // A query that sees one key: the probability is 1 whatever the score, so the gradient is 0. The difference
        // above would leave its rounding, which Adam takes for a gradient where all queries are such (window 1).
        if (end - begin == 1) ds_row[begin] = 0;
        std::fill(p_row + end, p_row + width, A(0));
        std::fill(ds_row + end, ds_row + width, A(0));
      }
      const Block<A> probabilities = dense(p, rows, width);
      const Block<A> gradients = dense(ds, rows, width);
      product<A>(dense(sum_dv + low * dh, width, dh), transposed<A>(probabilities), up, {.add = true});
      product<A>(dense(sum_dk + low * dh, width, dh), transposed<A>(gradients), queries, {.add = true});
      if (dq.tensor.defined()) {
        const Block<A> block = dense(scratch<A, Scratch::query_gradients>(rows * dh), rows, dh);
        visible_product<A>(s, first, low, gradients, keys, block);
        store<T>(dq.tensor, b, first, head, block, dq.add);
      }
    }
  }
  if (dk.tensor.defined()) store<T>(dk.tensor, b, 0, group, dense(sum_dk, s.keys, dh), dk.add);
  if (dv.tensor.defined()) store<T>(dv.tensor, b, 0, group, dense(sum_dv, s.keys, dh), dv.add);
}

}  // namespace

void attention_forward(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t length,
                       std::int64_t keys_per_token, const AttentionOptions& options, const Tensor& out,
                       const Tensor& lse) {
  const Sizes s(q, length, keys_per_token, options);
  dispatch_float(q.dtype(), "attention", [&]<class T>() {
    const std::int64_t blocks = s.blocks();
    parallel_for(s.batch * s.heads * blocks, [&](std::int64_t task) {
      // The last blocks see the most keys: those of a head go first, so that threads finish together.
      const std::int64_t block = blocks - 1 - task % blocks;
      const std::int64_t pair = task / blocks;
      forward_block<T>(q, k, v, s, out, lse, pair / s.heads, pair % s.heads, block * s.block);
    });
  });
}

void attention_step(const Tensor& q, const Tensor& k, const Tensor& v, TokenPosition position,
                    std::int64_t keys_per_token, const AttentionOptions& options, const Tensor& out) {
  const std::int64_t length = std::min(position.host + 1, k.dim(1) / keys_per_token) * keys_per_token;
  attention_forward(q, k, v, length, keys_per_token, options, out, Tensor());
}

void attention_append(const Tensor& k, const Tensor& v, const Tensor& k_cache, const Tensor& v_cache,
                      TokenPosition position, std::int64_t rows_per_token) {
  dispatch_float(k.dtype(), "attention_append", [&]<class T>() {
    const std::int64_t rows = k.dim(1);
    const std::int64_t capacity = k_cache.dim(1);
    const auto copy = [&](const Rows<T>& from, const Rows<T>& to) {
      for (std::int64_t r = 0; r < from.count; ++r) {
        const std::int64_t slot = (position.host * rows_per_token + r % rows) % capacity;
        std::memcpy(to[r / rows * capacity + slot], from[r], static_cast<std::size_t>(from.width) * sizeof(T));
      }
    };
    copy(Rows<T>(k), Rows<T>(k_cache));
    copy(Rows<T>(v), Rows<T>(v_cache));
  });
}

void attention_append_step(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& k_cache,
                           const Tensor& v_cache, TokenPosition position, std::int64_t keys_per_token,
                           const AttentionOptions& options, const Tensor& out) {
  cpu::attention_append(k, v, k_cache, v_cache, position, keys_per_token);
  attention_step(q, k_cache, v_cache, position, keys_per_token, options, out);
}

void attention_backward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out, const Tensor& lse,
                        const Tensor& dout, std::int64_t keys_per_token, const AttentionOptions& options,
                        const GradTarget& dq, const GradTarget& dk, const GradTarget& dv) {
  const Sizes s(q, k.dim(1), keys_per_token, options);
  dispatch_float(q.dtype(), "attention", [&]<class T>() {
    parallel_for(s.batch * s.kv_heads, [&](std::int64_t task) {
      backward_group<T>(q, k, v, out, lse, dout, s, dq, dk, dv, task / s.kv_heads, task % s.kv_heads);
    });
  });
}

void attention_recency(const Tensor& q, const Tensor& k, const Tensor& lse, std::int64_t recency_window,
                       const AttentionOptions& options, const Tensor& ratio) {
  const Sizes s(q, k.dim(1), 1, options);
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

namespace {

// Adds up where the queries of one head and one sequence look, block by block, in this order.
template <class T>
void profile_of_head(const Tensor& q, const Tensor& k, const Tensor& lse, const Sizes& s, std::int64_t b,
                     std::int64_t head, std::vector<double>& sums) {
  using A = acc_t<T>;
  const std::int64_t group = head / (s.heads / s.kv_heads);
  const A scale = A(1) / std::sqrt(A(s.head_dim));
  std::fill(sums.begin(), sums.end(), 0.0);
  for (std::int64_t first = 0; first < s.queries; first += s.block) {
    const std::int64_t rows = std::min(s.block, s.queries - first);
    const std::int64_t low = s.first_visible(first);
    const std::int64_t width = s.end_visible(first + rows - 1) - low;
    A* scores = scratch<A, Scratch::scores>(rows * width);
    const auto queries = load<T, Scratch::queries>(q, b, first, rows, head, s.head_dim);
    const auto keys = load<T, Scratch::keys>(k, b, low, width, group, s.head_dim);
    product<A>(dense(scores, rows, width), queries, transposed<A>(keys), {.scale = scale});
    for (std::int64_t i = 0; i < rows; ++i) {
      const A shift = lse.data<A>()[(b * s.heads + head) * s.queries + first + i];
      const std::int64_t at = s.past + first + i;
      for (std::int64_t j = s.first_visible(first + i); j <= at; ++j) {
        const A log_p = scores[i * width + j - low] - shift;
        const auto p = static_cast<double>(exp_value(log_p));
        if (j == 0) sums[0] += p;
        if (p > 0) sums[1] -= p * static_cast<double>(log_p);
        sums[static_cast<std::size_t>(2 + std::bit_width(static_cast<std::uint64_t>(at - j)))] += p;
      }
    }
  }
}

}  // namespace

void attention_profile(const Tensor& q, const Tensor& k, const Tensor& lse, const AttentionOptions& options,
                       const Tensor& profile) {
  const Sizes s(q, k.dim(1), 1, options);
  const std::int64_t columns = profile.cols();
  dispatch_float(q.dtype(), "attention_profile", [&]<class T>() {
    using A = acc_t<T>;
    parallel_for(s.batch * s.heads, [&](std::int64_t task) {
      std::vector<double> sums(static_cast<std::size_t>(columns));
      profile_of_head<T>(q, k, lse, s, task / s.heads, task % s.heads, sums);
      for (std::int64_t c = 0; c < columns; ++c) {
        profile.data<A>()[task * columns + c] = static_cast<A>(sums[static_cast<std::size_t>(c)]);
      }
    });
  });
}

}  // namespace mixgrad::cpu
