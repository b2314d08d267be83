#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "core/scratch.h"
#include "ops/attention/attention_blocks.h"
#include "ops/attention/attention_kernels.h"
#include "ops/shortcut_attention/shortcut_attention_kernels.h"
#include "ops/support/row_tasks.h"
#include "ops/support/target.h"

namespace mixgrad::cpu {

using namespace blocks;

namespace {

AttentionOptions attention_options(const ShortcutAttentionOptions& options) {
  return {options.heads, options.kv_heads, options.window, options.dropout};
}

template <class T>
acc_t<T> dot(const T* a, const T* b, std::int64_t count) {
  using A = acc_t<T>;
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t c = 0; c < count; ++c) sum += A(a[c]) * A(b[c]);
  return sum;
}

// The depth form: a query of token t and the M rows of that token, a few numbers for each head. A block of queries as
// in ops/attention would compute M scores that are used, among block x block x M.
struct Depth {
  std::int64_t queries, keys, past, sources, heads, per_group, head_dim;
  DropoutMask dropout;

  Depth(const Tensor& q, std::int64_t length, std::int64_t capacity, const ShortcutAttentionOptions& options)
      : queries(q.dim(1)),
        keys(capacity),
        past(length / options.sources - q.dim(1)),
        sources(options.sources),
        heads(options.heads),
        per_group(options.heads / options.kv_heads),
        head_dim(q.cols() / options.heads),
        dropout(options.dropout) {}

  // The first of the M rows that query row r of [B T] sees, among the rows [B capacity].
  std::int64_t first_key(std::int64_t r) const { return r / queries * keys + (past + r % queries) * sources; }
  // The index of the head's lse of query row r in [B,H,T].
  std::int64_t lse_index(std::int64_t r, std::int64_t head) const {
    return (r / queries * heads + head) * queries + r % queries;
  }
  // use(m, factors, count) for pieces of the sources of query row r.
  template <class A, class Use>
  void for_factors(std::int64_t r, std::int64_t head, const Use& use) const {
    const std::int64_t key = first_key(r) - r / queries * keys;
    const auto first = static_cast<std::uint64_t>(lse_index(r, head) * dropout_row(keys) + key);
    for_dropout_factors<A>(dropout, dropout.stream(), first, sources, use);
  }
};

template <class A>
void drop_sources(const Depth& d, std::int64_t r, std::int64_t head, A* p) {
  d.for_factors<A>(r, head, [&](std::int64_t m, const A* factors, std::int64_t count) {
    for (std::int64_t n = 0; n < count; ++n) p[m + n] = factors[n] == A(0) ? A(0) : p[m + n] * factors[n];
  });
}

template <class T>
void depth_forward(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t length,
                   const ShortcutAttentionOptions& options, const Tensor& out, const Tensor& lse) {
  using A = acc_t<T>;
  const Depth d(q, length, k.dim(1), options);
  const A scale = A(1) / std::sqrt(A(d.head_dim));
  const Rows<T> queries(q);
  const Rows<T> keys(k);
  const Rows<T> values(v);
  const Rows<T> outs(out);
  parallel_rows(queries.count, rows_per_task(queries.width * d.sources),
                [&](std::int64_t begin, std::int64_t end, std::int64_t) {
                  A* p = scratch<A, Scratch::scores>(d.sources);
                  A* sum = scratch<A, Scratch::result>(d.head_dim);
                  for (std::int64_t r = begin; r < end; ++r) {
                    for (std::int64_t h = 0; h < d.heads; ++h) {
                      const std::int64_t at = h / d.per_group * d.head_dim;
                      for (std::int64_t m = 0; m < d.sources; ++m) {
                        p[m] = scale * dot(queries[r] + h * d.head_dim, keys[d.first_key(r) + m] + at, d.head_dim);
                      }
                      const auto [top, total] = exponentials(p, 0, d.sources, d.sources);
                      if (lse.defined()) lse.data<A>()[d.lse_index(r, h)] = top + std::log(total);
                      if (d.dropout.active()) drop_sources(d, r, h, p);
                      std::fill_n(sum, d.head_dim, A(0));
                      for (std::int64_t m = 0; m < d.sources; ++m) {
                        const T* value = values[d.first_key(r) + m] + at;
                        for (std::int64_t c = 0; c < d.head_dim; ++c) sum[c] += p[m] / total * A(value[c]);
                      }
                      T* to = outs[r] + h * d.head_dim;
                      for (std::int64_t c = 0; c < d.head_dim; ++c) to[c] = static_cast<T>(sum[c]);
                    }
                  }
                });
}

template <class T>
class DepthBackward {
 public:
  using A = acc_t<T>;

  DepthBackward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out, const Tensor& lse,
                const Tensor& dout, const ShortcutAttentionOptions& options, const GradTarget& dq, const GradTarget& dk,
                const GradTarget& dv)
      : d_(q, k.dim(1), k.dim(1), options),
        scale_(A(1) / std::sqrt(A(d_.head_dim))),
        queries_(q),
        keys_(k),
        values_(v),
        outs_(out),
        up_(dout),
        lse_(lse.data<A>()),
        dq_(dq),
        dk_(dk),
        dv_(dv) {}

  // The gradients of query row r and of the M rows that it alone sees.
  void row(std::int64_t r) const {
    const std::int64_t first = d_.first_key(r);
    const std::int64_t dh = d_.head_dim;
    A* sum_dk = scratch<A, Scratch::key_gradients>(d_.sources * dh);
    A* sum_dv = scratch<A, Scratch::value_gradients>(d_.sources * dh);
    for (std::int64_t group = 0; group < d_.heads / d_.per_group; ++group) {
      std::fill_n(sum_dk, d_.sources * dh, A(0));
      std::fill_n(sum_dv, d_.sources * dh, A(0));
      for (std::int64_t h = group * d_.per_group; h < (group + 1) * d_.per_group; ++h) {
        head(r, h, group * dh, sum_dk, sum_dv);
      }
      for (std::int64_t m = 0; m < d_.sources; ++m) {
        dk_.put(first + m, group * dh, sum_dk + m * dh, dh);
        dv_.put(first + m, group * dh, sum_dv + m * dh, dh);
      }
    }
  }

  // The gradients of the past, which no query of this form sees, are zero.
  void zero_past() const {
    A* zeros = scratch<A, Scratch::key_gradients>(keys_.width);
    std::fill_n(zeros, keys_.width, A(0));
    for (std::int64_t r = 0; r < queries_.count; r += d_.queries) {
      for (std::int64_t key = d_.first_key(r) - d_.past * d_.sources; key < d_.first_key(r); ++key) {
        dk_.put(key, 0, zeros, keys_.width);
        dv_.put(key, 0, zeros, keys_.width);
      }
    }
  }

 private:
  void head(std::int64_t r, std::int64_t h, std::int64_t at, A* sum_dk, A* sum_dv) const {
    const std::int64_t first = d_.first_key(r);
    const std::int64_t dh = d_.head_dim;
    const T* query = queries_[r] + h * dh;
    const T* up = up_[r] + h * dh;
    const A delta = dot(up, outs_[r] + h * dh, dh);
    const A shift = lse_[d_.lse_index(r, h)];
    A* dq = scratch<A, Scratch::query_gradients>(dh);
    std::fill_n(dq, dh, A(0));
    A* kept = scratch<A, Scratch::scores>(d_.sources);  // ones, or the factors of the dropout
    std::fill_n(kept, d_.sources, A(1));
    if (d_.dropout.active()) drop_sources(d_, r, h, kept);
    for (std::int64_t m = 0; m < d_.sources; ++m) {
      const T* key = keys_[first + m] + at;
      const A p = exp_value(scale_ * dot(query, key, dh) - shift);
      const A up_value = kept[m] == A(0) ? A(0) : kept[m] * dot(up, values_[first + m] + at, dh);
      const A ds = p * (up_value - delta) * scale_;
      for (std::int64_t c = 0; c < dh; ++c) {
        dq[c] += ds * A(key[c]);
        sum_dk[m * dh + c] += ds * A(query[c]);
        sum_dv[m * dh + c] += kept[m] * p * A(up[c]);
      }
    }
    dq_.put(r, h * dh, dq, dh);
  }

  Depth d_;
  A scale_;
  Rows<T> queries_, keys_, values_, outs_, up_;
  const A* lse_;
  Target<T> dq_, dk_, dv_;
};

}  // namespace

void shortcut_attention_forward(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t length,
                                const ShortcutAttentionOptions& options, const Tensor& out, const Tensor& lse) {
  if (options.window != 1) {
    attention_forward(q, k, v, length, options.sources, attention_options(options), out, lse);
    return;
  }
  dispatch_float(q.dtype(), "shortcut_attention",
                 [&]<class T>() { depth_forward<T>(q, k, v, length, options, out, lse); });
}

void shortcut_attention_step(const Tensor& q, const Tensor& k, const Tensor& v, TokenPosition position,
                             const ShortcutAttentionOptions& options, const Tensor& out) {
  const std::int64_t length = std::min(position.host + 1, k.dim(1) / options.sources) * options.sources;
  shortcut_attention_forward(q, k, v, length, options, out, Tensor());
}

void shortcut_attention_backward(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                                 const Tensor& lse, const Tensor& dout, const ShortcutAttentionOptions& options,
                                 const GradTarget& dq, const GradTarget& dk, const GradTarget& dv) {
  if (options.window != 1) {
    attention_backward(q, k, v, out, lse, dout, options.sources, attention_options(options), dq, dk, dv);
    return;
  }
  dispatch_float(q.dtype(), "shortcut_attention", [&]<class T>() {
    const DepthBackward<T> backward(q, k, v, out, lse, dout, options, dq, dk, dv);
    backward.zero_past();
    parallel_rows(q.rows(), rows_per_task(q.cols() * options.sources),
                  [&](std::int64_t begin, std::int64_t end, std::int64_t) {
                    for (std::int64_t r = begin; r < end; ++r) backward.row(r);
                  });
  });
}

void shortcut_depth_mass(const Tensor& q, const Tensor& k, const ShortcutAttentionOptions& options,
                         const Tensor& mass) {
  const Sizes s(q, k.dim(1), options.sources, attention_options(options));
  dispatch_float(q.dtype(), "shortcut_depth_mass", [&]<class T>() {
    using A = acc_t<T>;
    const A scale = A(1) / std::sqrt(A(s.head_dim));
    parallel_for(s.batch * s.heads * s.blocks(), [&](std::int64_t task) {
      const std::int64_t first = task % s.blocks() * s.block;
      const std::int64_t head = task / s.blocks() % s.heads;
      const std::int64_t b = task / s.blocks() / s.heads;
      const std::int64_t rows = std::min(s.block, s.queries - first);
      const std::int64_t low = s.first_visible(first);
      const std::int64_t width = s.end_visible(first + rows - 1) - low;
      A* scores = scratch<A, Scratch::scores>(rows * width);
      const auto queries = load<T, Scratch::queries>(q, b, first, rows, head, s.head_dim);
      const auto keys = load<T, Scratch::keys>(k, b, low, width, head / (s.heads / s.kv_heads), s.head_dim);
      product<A>(dense(scores, rows, width), queries, transposed<A>(keys), {.scale = scale});
      for (std::int64_t i = 0; i < rows; ++i) {
        const std::int64_t end = s.end_visible(first + i) - low;
        const auto [top, sum] = exponentials(scores + i * width, s.first_visible(first + i) - low, end, width);
        A* to = mass.data<A>() + ((b * s.heads + head) * s.queries + first + i) * options.sources;
        std::fill_n(to, options.sources, A(0));
        for (std::int64_t j = 0; j < end; ++j) to[j % options.sources] += scores[i * width + j] / sum;
      }
    });
  });
}

}  // namespace mixgrad::cpu
