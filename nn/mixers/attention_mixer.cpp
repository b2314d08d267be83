#include "nn/mixers/attention_mixer.h"

#include <algorithm>

#include "autograd/tape.h"
#include "core/error.h"
#include "ops/rope/rope.h"

namespace mixgrad {

double uniform_recency(std::int64_t n, std::int64_t k) {
  if (k + 1 >= n) return 1;
  double tail = 0;  // H_n - H_{k+1}
  for (std::int64_t i = k + 2; i <= n; ++i) tail += 1.0 / static_cast<double>(i);
  return static_cast<double>(k + 1) / static_cast<double>(n) * (1 + tail);
}

AttentionHeads::AttentionHeads(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config,
                               std::int64_t heads, std::int64_t kv_heads, std::int64_t head_dim)
    : heads_(heads),
      kv_heads_(kv_heads),
      head_dim_(head_dim),
      context_(config.context),
      rotary_(config.positions == Positions::rope),
      theta_(config.rope_theta),
      qkv_(parameters, prefix + ".qkv", config.d_model, (heads + 2 * kv_heads) * head_dim, config.bias,
           kInitDeviation) {}

std::string AttentionHeads::describe() const {
  return std::to_string(heads_) + " heads of width " + std::to_string(head_dim_) + ", " + std::to_string(kv_heads_) +
         " key/value heads" + (rotary_ ? ", rotary" : "");
}

AttentionHeads::Packed AttentionHeads::packed_qkv(const Tensor& u, TokenPosition first_position) const {
  Tensor packed = qkv_.forward(u);
  if (rotary_) packed = rope(packed, {heads_ + kv_heads_, head_dim_, theta_, first_position});
  return {packed, heads_ * head_dim_, (heads_ + kv_heads_) * head_dim_};
}

Tensor AttentionHeads::forward(const Tensor& u, std::int64_t window) const {
  const auto [packed, q_end, k_end] = packed_qkv(u, 0);
  return attention(columns(packed, 0, q_end), columns(packed, q_end, k_end), columns(packed, k_end, packed.cols()),
                   {heads_, kv_heads_, window});
}

Tensor AttentionHeads::recency(const Tensor& u, std::int64_t k) const {
  const auto [packed, q_end, k_end] = packed_qkv(u, 0);
  const Tensor q = packed.column_view(0, q_end);
  const Tensor key = packed.column_view(q_end, k_end);
  const AttentionOptions options{heads_, kv_heads_, 0};
  const Tensor lse = attention_with_lse(q, key, packed.column_view(k_end, packed.cols()), options).lse;
  return attention_recency(q, key, lse, k, options);
}

std::unique_ptr<KeyValueState> AttentionHeads::new_state(std::int64_t batch, std::int64_t max_tokens,
                                                         Placement place) const {
  return std::make_unique<KeyValueState>("attention", batch, std::min(max_tokens, context_), 1, kv_heads_ * head_dim_,
                                         place);
}

Tensor AttentionHeads::prefill(const Tensor& u, KeyValueState& state) const {
  const auto [packed, q_end, k_end] = packed_qkv(u, state.next_position());
  const Tensor q = packed.column_view(0, q_end);
  const Tensor k = packed.column_view(q_end, k_end);
  const Tensor v = packed.column_view(k_end, packed.cols());
  if (q.dim(1) == 1) {
    Tensor out =
        attention_append_cached(q, k, v, state.keys, state.values, state.next_position(), {heads_, kv_heads_, 0});
    ++state.consumed;
    return out;
  }
  return state.append(q, k, v, [&](const Tensor& queries, TokenPosition position) {
    return attention_cached(queries, state.keys, state.values, position, {heads_, kv_heads_, 0});
  });
}

double AttentionHeads::operations(std::int64_t tokens) const {
  const double mean_keys = static_cast<double>(tokens + 1) / 2.0;
  return static_cast<double>(qkv_.operations()) + 4.0 * mean_keys * static_cast<double>(heads_ * head_dim_);
}

std::size_t AttentionHeads::state_bytes(std::int64_t tokens, DType dtype) const {
  return static_cast<std::size_t>(2 * std::min(tokens, context_) * kv_heads_ * head_dim_) * dtype_bytes(dtype);
}

AttentionMixer::AttentionMixer(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config,
                               const AttentionConfig& layer, double out_deviation)
    : heads_(parameters, prefix, config, layer.heads, layer.kv_heads, config.d_model / layer.heads),
      o_(parameters, prefix + ".o", config.d_model, config.d_model, config.bias, out_deviation) {}

Tensor AttentionMixer::prefill(const Tensor& u, MixerState& base) const {
  auto* state = dynamic_cast<KeyValueState*>(&base);
  if (state == nullptr || state->keys.dim(0) != u.dim(0)) {
    raise<ValueError>("attention: the state must come from this mixer's new_state with batch ", u.dim(0));
  }
  return o_.forward(heads_.prefill(u, *state));
}

double AttentionMixer::operations(std::int64_t tokens) const {
  return heads_.operations(tokens) + static_cast<double>(o_.operations());
}

}  // namespace mixgrad
