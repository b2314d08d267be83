#include "ops/shortcut_attention/shortcut_attention.h"

#include "autograd/tape.h"
#include "ops/attention/attention_kernels.h"
#include "ops/operators.h"
#include "ops/shortcut_attention/shortcut_attention_kernels.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

constexpr const char* kOp = "shortcut_attention";

void shortcut_attention_gradient(BackwardContext& context) {
  const Tensor& q = context.saved(0);
  const Tensor& k = context.saved(1);
  const Tensor& v = context.saved(2);
  const auto& options = context.attributes<ShortcutAttentionOptions>();
  const GradTarget dq = context.gradient(0, q.shape());
  const GradTarget dk = context.gradient(1, k.shape());
  const GradTarget dv = context.gradient(2, v.shape());
  MIXGRAD_DISPATCH(q.device(), shortcut_attention_backward, q, k, v, context.saved(3), context.saved(4),
                   context.output_gradient(), options, dq, dk, dv);
}

void check(const char* op, const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t length,
           const ShortcutAttentionOptions& options) {
  if (options.sources < 1) raise<ShapeError>(op, ": sources must be at least 1, got ", options.sources);
  check_attention(op, q, k, v, length, options.sources, {options.heads, options.kv_heads, options.window});
}

AttentionWithLse forward(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t length, bool with_lse,
                         const ShortcutAttentionOptions& options) {
  check(kOp, q, k, v, length, options);
  AttentionWithLse result;
  result.out = Tensor::empty(q.shape(), q.dtype(), q.device());
  if (with_lse) {
    const DType sums = accumulation_dtype(q.dtype());
    result.lse = Tensor::empty({q.dim(0), options.heads, q.dim(1)}, sums, q.device());
  }
  MIXGRAD_DISPATCH(q.device(), shortcut_attention_forward, q, k, v, length, options, result.out, result.lse);
  return result;
}

}  // namespace

const OpSpec shortcut_attention_spec{
    .name = kOp,
    .formula =
        "out_i = sum_(m,j) p_i(m,j) v_(m,j), p = softmax over all sources m of the tokens j <= i of q_i . k_(m,j) / "
        "sqrt(dh)",
    .gradient =
        "ds_ir = p_ir (dout_i . v_r - dout_i . out_i)/sqrt(dh); dq_i = sum_r ds_ir k_r, dk_r = sum_i ds_ir q_i, "
        "dv_r = sum_i p_ir dout_i",
    .saves = "q, k, v, out, lse",
    .inputs = 3,
    .outputs = 1,
    .differentiable = {0, 1, 2},
    .roles = {InputRole::activation, InputRole::activation, InputRole::activation},
    .cached = "shortcut_attention_cached",
    .backward = shortcut_attention_gradient,
};

Tensor shortcut_attention(const Tensor& q, const Tensor& k, const Tensor& v, const ShortcutAttentionOptions& options) {
  const bool recording = any_tracked({&q, &k, &v});
  const std::int64_t length = k.defined() && k.shape().rank() == 3 ? k.dim(1) : 0;
  AttentionWithLse result = forward(q, k, v, length, recording, options);
  if (recording) {
    record(shortcut_attention_spec, {&q, &k, &v}, {&result.out}, {&q, &k, &v, &result.out, &result.lse}, options);
  }
  return result.out;
}

Tensor shortcut_attention_cached(const Tensor& q, const Tensor& k_cache, const Tensor& v_cache, TokenPosition position,
                                 const ShortcutAttentionOptions& options) {
  constexpr const char* kCached = "shortcut_attention_cached";
  require_untracked(kCached, "q", q);
  require_untracked(kCached, "k_cache", k_cache);
  require_untracked(kCached, "v_cache", v_cache);
  if (options.sources < 1) raise<ShapeError>(kCached, ": sources must be at least 1, got ", options.sources);
  const std::int64_t length = cached_rows(kCached, q, k_cache, position, options.sources, options.window);
  if (q.dim(1) != 1) return forward(q, k_cache, v_cache, length, false, options).out;
  check(kCached, q, k_cache, v_cache, length, options);
  Tensor out = Tensor::empty(q.shape(), q.dtype(), q.device());
  MIXGRAD_DISPATCH(q.device(), shortcut_attention_step, q, k_cache, v_cache, position, options, out);
  return out;
}

Tensor shortcut_depth_mass(const Tensor& q, const Tensor& k, const ShortcutAttentionOptions& options) {
  constexpr const char* kProbe = "shortcut_depth_mass";
  require_untracked(kProbe, "q", q);
  require_untracked(kProbe, "k", k);
  const std::int64_t length = k.defined() && k.shape().rank() == 3 ? k.dim(1) : 0;
  check(kProbe, q, k, k, length, options);
  const DType sums = accumulation_dtype(q.dtype());
  Tensor mass = Tensor::empty({q.dim(0), options.heads, q.dim(1), options.sources}, sums, q.device());
  MIXGRAD_DISPATCH(q.device(), shortcut_depth_mass, q, k, options, mass);
  return mass;
}

}  // namespace mixgrad
