#include "ops/attention/attention.h"

#include <algorithm>

#include "autograd/tape.h"
#include "ops/attention/attention_forms.h"
#include "ops/attention/attention_kernels.h"
#include "ops/operators.h"
#include "ops/support/check.h"

namespace mixgrad {

void check_attention(const char* op, const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t length,
                     std::int64_t keys_per_token, const AttentionOptions& options) {
  require_float(op, "q", q);
  require_float(op, "k", k);
  require_float(op, "v", v);
  require_like(op, "k", k, q);
  require_like(op, "v", v, q);
  require_rank(op, "q", q, 3, "[B,T,H dh]");
  require_rank(op, "k", k, 3, "[B,S,G dh]");
  require_shape(op, "v", v, k.shape());
  if (options.heads < 1 || options.kv_heads < 1) {
    raise<ShapeError>(op, ": heads and kv_heads must be at least 1, got ", options.heads, " and ", options.kv_heads);
  }
  if (options.heads % options.kv_heads != 0) {
    raise<ShapeError>(op, ": heads must be a multiple of kv_heads, got ", options.heads, " and ", options.kv_heads);
  }
  if (q.cols() % options.heads != 0 || q.cols() == 0) {
    raise<ShapeError>(op, ": the last axis of q must be a multiple of ", options.heads, " heads, got q ", q.shape());
  }
  const std::int64_t width = q.cols() / options.heads * options.kv_heads;
  if (k.dim(0) != q.dim(0) || k.cols() != width) {
    raise<ShapeError>(op, ": k and v must be [", q.dim(0), ",S,", width, "] to match q ", q.shape(), " with ",
                      options.heads, " heads and ", options.kv_heads, " kv_heads, got ", k.shape());
  }
  if (length < q.dim(1) * keys_per_token || length > k.dim(1)) {
    raise<ShapeError>(op, ": the keys must include those of the ", q.dim(1), " queries, got ", length, " keys for q ",
                      q.shape());
  }
  if (length % keys_per_token != 0) {
    raise<ShapeError>(op, ": the keys must be a multiple of the ", keys_per_token, " sources, got ", length);
  }
  if (options.window < 0) raise<ValueError>(op, ": window must be at least 0 (0 = no limit), got ", options.window);
}

std::int64_t cached_rows(const char* op, const Tensor& q, const Tensor& k_cache, const Tensor& v_cache,
                         const TokenPosition& position, std::int64_t keys_per_token, std::int64_t window) {
  require_untracked(op, "q", q);
  require_untracked(op, "k_cache", k_cache);
  require_untracked(op, "v_cache", v_cache);
  require_float(op, "q", q);
  require_float(op, "k_cache", k_cache);
  require_rank(op, "q", q, 3, "[B,T,H dh]");
  require_rank(op, "k_cache", k_cache, 3, "[B,capacity,G dh]");
  require_position(op, "position", position, q);
  const std::int64_t steps = q.dim(1);
  const std::int64_t capacity = k_cache.dim(1) / keys_per_token;
  if (position.device != nullptr && steps != 1) {
    raise<ShapeError>(op, ": with a position on the device one query is required, got q ", q.shape());
  }
  if (position.host + steps > capacity && (steps > 1 || window > 0)) {
    raise<ShapeError>(op, ": the cache of ", capacity, " tokens must hold the ", position.host, " before and the ",
                      steps, " of this call; beyond that give one at a time, without a window");
  }
  return std::min(position.host + steps, capacity) * keys_per_token;
}

std::int64_t key_rows(const Tensor& k) { return k.defined() && k.shape().rank() == 3 ? k.dim(1) : 0; }

AttentionWithLse attention_result(const Tensor& q, std::int64_t heads, bool with_lse) {
  AttentionWithLse result;
  result.out = Tensor::empty(q.shape(), q.dtype(), q.device());
  if (with_lse) {
    result.lse = Tensor::empty({q.dim(0), heads, q.dim(1)}, accumulation_dtype(q.dtype()), q.device());
  }
  return result;
}

namespace {

constexpr const char* kOp = "attention";

void gradient(BackwardContext& context) {
  attention_gradient<AttentionOptions>(
      context,
      [](const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out, const Tensor& lse, const Tensor& dout,
         const AttentionOptions& options, const GradTarget& dq, const GradTarget& dk, const GradTarget& dv) {
        MIXGRAD_DISPATCH(q.device(), attention_backward, q, k, v, out, lse, dout, 1, options, dq, dk, dv);
      });
}

AttentionWithLse forward(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t length, bool with_lse,
                         const AttentionOptions& options) {
  check_attention(kOp, q, k, v, length, 1, options);
  AttentionWithLse result = attention_result(q, options.heads, with_lse);
  MIXGRAD_DISPATCH(q.device(), attention_forward, q, k, v, length, 1, options, result.out, result.lse);
  return result;
}

}  // namespace

const OpSpec attention_spec{
    .name = kOp,
    .formula = "out_i = sum_j p_ij v_j, p_ij = softmax over j <= i of q_i . k_j / sqrt(dh)",
    .gradient =
        "ds_ij = p_ij (dout_i . v_j - dout_i . out_i)/sqrt(dh); dq_i = sum_j ds_ij k_j, "
        "dk_j = sum_i ds_ij q_i, dv_j = sum_i p_ij dout_i",
    .saves = "q, k, v, out, lse",
    .inputs = 3,
    .outputs = 1,
    .differentiable = {0, 1, 2},
    .roles = {InputRole::activation, InputRole::activation, InputRole::activation},
    .cached = "attention_cached",
    .backward = gradient,
};

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
  const bool recording = any_tracked({&q, &k, &v});
  AttentionWithLse result = forward(q, k, v, key_rows(k), recording, options);
  if (recording) record_attention(attention_spec, q, k, v, result, options);
  return result.out;
}

namespace {

void check_append(const char* op, const Tensor& k, const Tensor& v, const Tensor& k_cache, const Tensor& v_cache,
                  TokenPosition position, std::int64_t r) {
  require_float(op, "k", k);
  require_rank(op, "k", k, 3, "[B,T r,W]");
  require_untracked(op, "k", k);
  require_untracked(op, "v", v);
  require_float(op, "k_cache", k_cache);
  require_rank(op, "k_cache", k_cache, 3, "[B,C r,W]");
  require_shape(op, "v", v, k.shape());
  require_shape(op, "k_cache", k_cache, {k.dim(0), k_cache.dim(1), k.dim(2)});
  require_shape(op, "v_cache", v_cache, k_cache.shape());
  require_like(op, "v", v, k);
  require_like(op, "k_cache", k_cache, k);
  require_like(op, "v_cache", v_cache, k);
  require_position(op, "position", position, k);
  if (r < 1 || k.dim(1) % r != 0 || k_cache.dim(1) % r != 0 || k.dim(1) > k_cache.dim(1)) {
    raise<ShapeError>(op, ": the rows of k and k_cache must be a multiple of rows_per_token, which is at least 1, ",
                      "and k must fit into k_cache, got k ", k.shape(), ", k_cache ", k_cache.shape(), " and ", r);
  }
}

}  // namespace

Tensor attention_append_cached(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& k_cache,
                               const Tensor& v_cache, TokenPosition position, const AttentionOptions& options) {
  constexpr const char* kBoth = "attention_append_cached";
  require_untracked(kBoth, "q", q);
  check_append(kBoth, k, v, k_cache, v_cache, position, 1);
  const std::int64_t length = cached_rows(kBoth, q, k_cache, v_cache, position, 1, options.window);
  check_attention(kBoth, q, k_cache, v_cache, length, 1, options);
  if (q.dim(1) != 1 || k.dim(1) != 1) {
    raise<ShapeError>(kBoth, ": one token is required, got q ", q.shape(), " and k ", k.shape());
  }
  Tensor out = Tensor::empty(q.shape(), q.dtype(), q.device());
  MIXGRAD_DISPATCH(q.device(), attention_append_step, q, k, v, k_cache, v_cache, position, 1, options, out);
  return out;
}

Tensor attention_cached(const Tensor& q, const Tensor& k_cache, const Tensor& v_cache, TokenPosition position,
                        const AttentionOptions& options) {
  constexpr const char* kCached = "attention_cached";
  const std::int64_t length = cached_rows(kCached, q, k_cache, v_cache, position, 1, options.window);
  if (q.dim(1) != 1) return forward(q, k_cache, v_cache, length, false, options).out;
  check_attention(kCached, q, k_cache, v_cache, length, 1, options);
  Tensor out = Tensor::empty(q.shape(), q.dtype(), q.device());
  MIXGRAD_DISPATCH(q.device(), attention_step, q, k_cache, v_cache, position, 1, options, out);
  return out;
}

void attention_append(const Tensor& k, const Tensor& v, const Tensor& k_cache, const Tensor& v_cache,
                      TokenPosition position, std::int64_t rows_per_token) {
  check_append("attention_append", k, v, k_cache, v_cache, position, rows_per_token);
  MIXGRAD_DISPATCH(k.device(), attention_append, k, v, k_cache, v_cache, position, rows_per_token);
}

AttentionWithLse attention_with_lse(const Tensor& q, const Tensor& k, const Tensor& v,
                                    const AttentionOptions& options) {
  require_untracked("attention_with_lse", "q", q);
  require_untracked("attention_with_lse", "k", k);
  require_untracked("attention_with_lse", "v", v);
  return forward(q, k, v, key_rows(k), true, options);
}

Tensor attention_recency(const Tensor& q, const Tensor& k, const Tensor& lse, std::int64_t recency_window,
                         const AttentionOptions& options) {
  require_untracked("attention_recency", "q", q);
  require_untracked("attention_recency", "k", k);
  check_attention(kOp, q, k, k, k.dim(1), 1, options);
  require_shape("attention_recency", "lse", lse, {q.dim(0), options.heads, q.dim(1)});
  if (recency_window < 0) {
    raise<ValueError>("attention_recency: the window must be at least 0, got ", recency_window);
  }
  Tensor ratio = Tensor::empty({options.heads}, lse.dtype(), q.device());
  MIXGRAD_DISPATCH(q.device(), attention_recency, q, k, lse, recency_window, options, ratio);
  return ratio;
}

std::int64_t attention_ranges(std::int64_t keys) {
  std::int64_t ranges = 1;  // of the distance 0
  while (std::int64_t{1} << (ranges - 1) < keys) ++ranges;
  return ranges;
}

Tensor attention_profile(const Tensor& q, const Tensor& k, const Tensor& lse, const AttentionOptions& options) {
  require_untracked("attention_profile", "q", q);
  require_untracked("attention_profile", "k", k);
  check_attention("attention_profile", q, k, k, key_rows(k), 1, options);
  require_shape("attention_profile", "lse", lse, {q.dim(0), options.heads, q.dim(1)});
  const std::int64_t columns = 2 + attention_ranges(k.dim(1));
  Tensor profile = Tensor::empty({q.dim(0), options.heads, columns}, lse.dtype(), q.device());
  MIXGRAD_DISPATCH(q.device(), attention_profile, q, k, lse, options, profile);
  return profile;
}

}  // namespace mixgrad
