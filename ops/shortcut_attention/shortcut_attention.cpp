#include "ops/shortcut_attention/shortcut_attention.h"

#include "autograd/tape.h"
#include "ops/attention/attention_forms.h"
#include "ops/operators.h"
#include "ops/shortcut_attention/shortcut_attention_kernels.h"
#include "ops/support/check.h"

namespace mixgrad {
namespace {

constexpr const char* kOp = "shortcut_attention";

void gradient(BackwardContext& context) {
  attention_gradient<ShortcutAttentionOptions>(
      context,
      [](const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out, const Tensor& lse, const Tensor& dout,
         const ShortcutAttentionOptions& options, const GradTarget& dq, const GradTarget& dk, const GradTarget& dv) {
        MIXGRAD_DISPATCH(q.device(), shortcut_attention_backward, q, k, v, out, lse, dout, options, dq, dk, dv);
      });
}

void check(const char* op, const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t length,
           const ShortcutAttentionOptions& options) {
  if (options.sources < 1) raise<ShapeError>(op, ": sources must be at least 1, got ", options.sources);
  check_attention(op, q, k, v, length, options.sources, {options.heads, options.kv_heads, options.window});
}

AttentionWithLse forward(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t length, bool with_lse,
                         const ShortcutAttentionOptions& options) {
  check(kOp, q, k, v, length, options);
  AttentionWithLse result = attention_result(q, options.heads, with_lse);
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
    .backward = gradient,
};

Tensor shortcut_attention(const Tensor& q, const Tensor& k, const Tensor& v, const ShortcutAttentionOptions& options) {
  const bool recording = any_tracked({&q, &k, &v});
  AttentionWithLse result = forward(q, k, v, key_rows(k), recording, options);
  if (recording) record_attention(shortcut_attention_spec, q, k, v, result, options);
  return result.out;
}

Tensor shortcut_attention_cached(const Tensor& q, const Tensor& k_cache, const Tensor& v_cache, TokenPosition position,
                                 const ShortcutAttentionOptions& options) {
  constexpr const char* kCached = "shortcut_attention_cached";
  if (options.sources < 1) raise<ShapeError>(kCached, ": sources must be at least 1, got ", options.sources);
  const std::int64_t length = cached_rows(kCached, q, k_cache, v_cache, position, options.sources, options.window);
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
  check(kProbe, q, k, k, key_rows(k), options);
  const DType sums = accumulation_dtype(q.dtype());
  Tensor mass = Tensor::empty({q.dim(0), options.heads, q.dim(1), options.sources}, sums, q.device());
  MIXGRAD_DISPATCH(q.device(), shortcut_depth_mass, q, k, options, mass);
  return mass;
}

}  // namespace mixgrad
