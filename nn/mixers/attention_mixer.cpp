#include "nn/mixers/attention_mixer.h"

#include <algorithm>

#include "autograd/tape.h"
#include "core/text/plural.h"
#include "ops/rope/rope.h"

namespace mixgrad {

double uniform_recency(std::int64_t n, std::int64_t k) {
  if (k + 1 >= n) return 1;
  double tail = 0;  // H_n - H_{k+1}
  for (std::int64_t i = k + 2; i <= n; ++i) tail += 1.0 / static_cast<double>(i);
  return static_cast<double>(k + 1) / static_cast<double>(n) * (1 + tail);
}

AttentionHeads::AttentionHeads(const MixerSetup& setup, std::int64_t heads, std::int64_t kv_heads,
                               std::int64_t head_dim)
    : heads_(heads),
      kv_heads_(kv_heads),
      head_dim_(head_dim),
      context_(setup.config.context),
      rotary_(setup.config.positions == Positions::rope),
      theta_(setup.config.rope_theta),
      qkv_(setup.parameters, setup.prefix + ".qkv", setup.config.d_model, (heads + 2 * kv_heads) * head_dim,
           setup.config.bias, kInitDeviation) {}

std::string AttentionHeads::describe() const {
  return count_text(heads_, "head") + " of width " + std::to_string(head_dim_) + ", " +
         count_text(kv_heads_, "key/value head") + (rotary_ ? ", rotary" : "");
}

AttentionHeads::Packed AttentionHeads::packed_qkv(const NormedInput& u, TokenPosition first) const {
  const Tensor packed =
      rotary_ ? qkv_.forward_rope(u, {heads_ + kv_heads_, head_dim_, theta_, first}) : qkv_.forward(u);
  return {packed, heads_ * head_dim_, (heads_ + kv_heads_) * head_dim_};
}

Tensor AttentionHeads::forward(const NormedInput& u, std::int64_t window) const {
  const auto [packed, q_end, k_end] = packed_qkv(u, 0);
  return attention(columns(packed, 0, q_end), columns(packed, q_end, k_end), columns(packed, k_end, packed.cols()),
                   {heads_, kv_heads_, window});
}

Tensor AttentionHeads::recency(const NormedInput& u, std::int64_t k) const {
  const auto [packed, q_end, k_end] = packed_qkv(u, 0);
  const Tensor q = packed.column_view(0, q_end);
  const Tensor key = packed.column_view(q_end, k_end);
  const AttentionOptions options{heads_, kv_heads_, 0};
  const Tensor lse = attention_with_lse(q, key, packed.column_view(k_end, packed.cols()), options).lse;
  return attention_recency(q, key, lse, k, options);
}

KeyValueRing AttentionHeads::new_ring(std::int64_t batch, std::int64_t max_tokens, Placement placement) const {
  return {batch, std::min(max_tokens, context_), 1, kv_heads_ * head_dim_, placement};
}

Tensor AttentionHeads::continued(const NormedInput& u, const KeyValueRing& ring, TokenPosition first) const {
  const auto [packed, q_end, k_end] = packed_qkv(u, first);
  const Tensor q = packed.column_view(0, q_end);
  const Tensor k = packed.column_view(q_end, k_end);
  const Tensor v = packed.column_view(k_end, packed.cols());
  if (q.dim(1) == 1) {
    return attention_append_cached(q, k, v, ring.keys, ring.values, first, {heads_, kv_heads_, 0});
  }
  return ring.append(q, k, v, first, [&](const Tensor& queries, TokenPosition position) {
    return attention_cached(queries, ring.keys, ring.values, position, {heads_, kv_heads_, 0});
  });
}

double AttentionHeads::operations(std::int64_t tokens) const {
  const double mean_keys = static_cast<double>(tokens + 1) / 2.0;
  return static_cast<double>(qkv_.operations()) + 4.0 * mean_keys * static_cast<double>(heads_ * head_dim_);
}

std::size_t AttentionHeads::state_bytes(std::int64_t tokens, DType dtype) const {
  return static_cast<std::size_t>(2 * std::min(tokens, context_) * kv_heads_ * head_dim_) * dtype_bytes(dtype);
}

RowRange AttentionHeads::rows_without_gradient(std::string_view parameter) const {
  if (rotary_ || parameter != "qkv.bias") return {};
  return {heads_ * head_dim_, (heads_ + kv_heads_) * head_dim_};
}

AttentionMixer::AttentionMixer(const AttentionConfig& layer, const MixerSetup& setup)
    : heads_(setup, layer.heads, layer.kv_heads, setup.config.d_model / layer.heads),
      o_(setup.parameters, setup.prefix + ".o", setup.config.d_model, setup.config.d_model, setup.config.bias,
         setup.out_deviation) {}

std::unique_ptr<KeyValueState> AttentionMixer::empty_state(std::int64_t batch, std::int64_t max_tokens,
                                                           Placement placement) const {
  auto state = std::make_unique<KeyValueState>();
  state->ring = heads_.new_ring(batch, max_tokens, placement);
  return state;
}

double AttentionMixer::operations(std::int64_t tokens) const {
  return heads_.operations(tokens) + static_cast<double>(o_.operations());
}

std::unique_ptr<Mixer> make_attention_mixer(const LayerConfig& layer, const MixerSetup& setup) {
  return std::make_unique<AttentionMixer>(layer.get<AttentionConfig>(), setup);
}

}  // namespace mixgrad
