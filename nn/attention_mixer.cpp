#include "nn/attention_mixer.h"

#include <algorithm>

#include "autograd/tape.h"
#include "core/error.h"
#include "ops/rope/rope.h"

namespace mixgrad {
namespace {

// Rows [first, first + T) of each sequence of the cache become those of x [B,T,W].
void write_rows(const Tensor& cache, std::int64_t first, const Tensor& x) {
  const std::int64_t steps = x.dim(1);
  for (std::int64_t b = 0; b < x.dim(0); ++b) {
    const Tensor to = cache.slice(b, b + 1).reshape({cache.dim(1), cache.dim(2)}).slice(first, first + steps);
    to.copy_from(x.slice(b, b + 1).reshape({steps, x.dim(2)}));
  }
}

}  // namespace

std::unique_ptr<MixerState> AttentionState::clone() const {
  auto copy = std::make_unique<AttentionState>();
  copy->keys = keys.clone();
  copy->values = values.clone();
  copy->consumed = consumed;
  return copy;
}

AttentionMixer::AttentionMixer(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config,
                               const AttentionConfig& layer, double out_deviation)
    : heads_(layer.heads),
      kv_heads_(layer.kv_heads),
      head_dim_(config.d_model / layer.heads),
      context_(config.context),
      rotary_(config.positions == Positions::rope),
      theta_(config.rope_theta),
      qkv_(parameters, prefix + ".qkv", config.d_model, (heads_ + 2 * kv_heads_) * head_dim_, config.bias,
           kInitDeviation),
      o_(parameters, prefix + ".o", heads_ * head_dim_, config.d_model, config.bias, out_deviation) {}

std::string AttentionMixer::describe() const {
  return "attention, " + std::to_string(heads_) + " heads of width " + std::to_string(head_dim_) + ", " +
         std::to_string(kv_heads_) + " key/value heads" + (rotary_ ? ", rotary" : "");
}

Tensor AttentionMixer::packed_qkv(const Tensor& u, std::int64_t first_position) const {
  const Tensor packed = qkv_.forward(u);
  if (!rotary_) return packed;
  return rope(packed, {heads_ + kv_heads_, head_dim_, theta_, first_position});
}

Tensor AttentionMixer::forward(const Tensor& u, std::int64_t window) const {
  const Tensor packed = packed_qkv(u, 0);  // [B,T,(H+2G) dh]
  const std::int64_t q_end = heads_ * head_dim_;
  const std::int64_t k_end = q_end + kv_heads_ * head_dim_;
  return o_.forward(attention(columns(packed, 0, q_end), columns(packed, q_end, k_end),
                              columns(packed, k_end, packed.cols()), {heads_, kv_heads_, window}));
}

Tensor AttentionMixer::recency(const Tensor& u, std::int64_t k) const {
  const Tensor packed = packed_qkv(u, 0);
  const std::int64_t q_end = heads_ * head_dim_;
  const std::int64_t k_end = q_end + kv_heads_ * head_dim_;
  const Tensor q = packed.column_view(0, q_end);
  const Tensor key = packed.column_view(q_end, k_end);
  const AttentionOptions options{heads_, kv_heads_, 0};
  const Tensor lse = attention_with_lse(q, key, packed.column_view(k_end, packed.cols()), options).lse;
  return attention_recency(q, key, lse, k, options);
}

std::unique_ptr<MixerState> AttentionMixer::new_state(std::int64_t batch, std::int64_t max_tokens, DType dtype) const {
  if (batch < 1 || max_tokens < 1) {
    raise<ValueError>("attention state: batch and max_tokens must be at least 1, got ", batch, " and ", max_tokens);
  }
  auto state = std::make_unique<AttentionState>();
  const Shape shape{batch, std::min(max_tokens, context_), kv_heads_ * head_dim_};
  state->keys = Tensor::empty(shape, dtype);
  state->values = Tensor::empty(shape, dtype);
  return state;
}

// One token at a full ring: it takes the place of the oldest. Softmax does not mind the order of the keys, and rotary
// keys carry their position.
Tensor AttentionMixer::ring_step(const Tensor& q, const Tensor& k, const Tensor& v, AttentionState& state) const {
  const std::int64_t capacity = state.keys.dim(1);
  const std::int64_t place = state.consumed % capacity;
  write_rows(state.keys, place, k);
  write_rows(state.values, place, v);
  ++state.consumed;
  return attention_cached(q, state.keys, state.values, std::min(state.consumed, capacity), {heads_, kv_heads_, 0});
}

Tensor AttentionMixer::prefill(const Tensor& u, MixerState& base) const {
  auto* state = dynamic_cast<AttentionState*>(&base);
  if (state == nullptr || state->keys.dim(0) != u.dim(0)) {
    raise<ValueError>("attention: the state must come from this mixer's new_state with batch ", u.dim(0));
  }
  const std::int64_t steps = u.dim(1);
  const std::int64_t capacity = state->keys.dim(1);
  const Tensor packed = packed_qkv(u, state->consumed);
  const std::int64_t q_end = heads_ * head_dim_;
  const std::int64_t k_end = q_end + kv_heads_ * head_dim_;
  const Tensor q = packed.column_view(0, q_end);
  const Tensor k = packed.column_view(q_end, k_end);
  const Tensor v = packed.column_view(k_end, packed.cols());
  if (state->consumed + steps <= capacity) {
    write_rows(state->keys, state->consumed, k);
    write_rows(state->values, state->consumed, v);
    const Tensor out = attention_cached(q, state->keys, state->values, state->consumed + steps, {heads_, kv_heads_, 0});
    state->consumed += steps;
    return o_.forward(out);
  }
  // Past the end of the ring a chunk's later keys would overwrite what its earlier queries see: token by token.
  const Tensor out = Tensor::empty(q.shape(), q.dtype());
  for (std::int64_t t = 0; t < steps; ++t) {
    const auto token = [&](const Tensor& x) {
      const Tensor one = Tensor::empty({x.dim(0), 1, x.dim(2)}, x.dtype());
      for (std::int64_t b = 0; b < x.dim(0); ++b) {
        one.slice(b, b + 1).copy_from(
            x.slice(b, b + 1).reshape({steps, x.dim(2)}).slice(t, t + 1).reshape({1, 1, x.dim(2)}));
      }
      return one;
    };
    write_rows(out, t, ring_step(token(q), token(k), token(v), *state));
  }
  return o_.forward(out);
}

double AttentionMixer::operations(std::int64_t tokens) const {
  const double mean_keys = static_cast<double>(tokens + 1) / 2.0;
  return static_cast<double>(qkv_.operations() + o_.operations()) +
         4.0 * mean_keys * static_cast<double>(heads_ * head_dim_);
}

std::size_t AttentionMixer::state_bytes(std::int64_t tokens, DType dtype) const {
  return static_cast<std::size_t>(2 * std::min(tokens, context_) * kv_heads_ * head_dim_) * dtype_bytes(dtype);
}

}  // namespace mixgrad
