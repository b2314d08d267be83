#include "nn/mixers/recurformer_mixer.h"

#include <algorithm>

#include "core/error.h"
#include "ops/heads/heads.h"

namespace mixgrad {
namespace {

bool contains(const std::vector<std::int64_t>& values, std::int64_t value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

// The query heads of the groups for which `in` holds, ascending.
template <class In>
void add_heads(const RecurformerConfig& layer, const In& in, std::vector<std::int64_t>& heads) {
  for (std::int64_t h = 0; h < layer.heads; ++h) {
    if (in(h / layer.heads_per_group())) heads.push_back(h);
  }
}

}  // namespace

std::size_t RecurformerState::bytes() const {
  return (attention ? attention->bytes() : 0) + (mamba ? mamba->bytes() : 0) + (ring.defined() ? ring.bytes() : 0);
}

void RecurformerState::reset() {
  if (attention) attention->reset();
  if (mamba) mamba->reset();
  consumed = 0;  // the ring is not read before it is written
}

void RecurformerState::advance(std::int64_t tokens) {
  if (attention) attention->advance(tokens);
  consumed += tokens;
}

std::unique_ptr<MixerState> RecurformerState::clone() const {
  auto copy = std::make_unique<RecurformerState>();
  if (attention) copy->attention = std::make_unique<KeyValueState>(dynamic_cast<KeyValueState&>(*attention->clone()));
  if (mamba) copy->mamba = mamba->clone();
  if (ring.defined()) copy->ring = ring.clone();
  copy->batch = batch;
  copy->consumed = consumed;
  return copy;
}

RecurformerMixer::RecurformerMixer(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config,
                                   const RecurformerConfig& layer, double out_deviation)
    : head_dim_(config.d_model / layer.heads) {
  const auto recurrent = [&](std::int64_t group) { return contains(layer.recurrent_groups, group); };
  const auto shifted = [&](std::int64_t group) { return contains(layer.shift_groups, group); };
  add_heads(
      layer, [&](std::int64_t group) { return !recurrent(group) && !shifted(group); }, slots_);
  const auto softmax_heads = static_cast<std::int64_t>(slots_.size());
  add_heads(layer, recurrent, slots_);
  const auto mamba_heads = static_cast<std::int64_t>(slots_.size()) - softmax_heads;
  add_heads(layer, shifted, slots_);
  in_order_ = softmax_heads == layer.heads || mamba_heads == layer.heads || softmax_heads + mamba_heads == 0;
  if (softmax_heads > 0) {
    attention_.emplace(parameters, prefix, config, softmax_heads, layer.softmax_groups(), head_dim_);
  }
  if (mamba_heads > 0) {
    mamba_.emplace(parameters, prefix + ".mamba", config.d_model, head_dim_, mamba_heads, layer);
  }
  if (!layer.shift_groups.empty()) shift_.emplace(parameters, prefix + ".shift", config, head_dim_, layer.shifts);
  o_.emplace(parameters, prefix + ".o", config.d_model, config.d_model, config.bias, out_deviation);
}

std::string RecurformerMixer::describe() const {
  std::string text;
  const auto add = [&](const std::string& kind, const std::string& what) {
    text += (text.empty() ? "" : "; ") + kind + " " + what;
  };
  if (attention_) add("softmax", attention_->describe());
  if (mamba_) add("mamba", mamba_->describe());
  if (shift_) add("shift", shift_->describe());
  return text;
}

Tensor RecurformerMixer::joined(const Parts& parts) const {
  if (!in_order_) return o_->forward(concat_heads({parts.of_kind.data(), parts.count}, slots_, head_dim_));
  const Tensor& only = parts.of_kind.front();
  return o_->forward(only.reshape({only.dim(0), only.dim(1), only.numel() / (only.dim(0) * only.dim(1))}));
}

Tensor RecurformerMixer::windowed(const Tensor& u, std::int64_t window) const {
  Parts parts;
  if (attention_) parts.add(attention_->forward(u, window));
  if (mamba_) parts.add(mamba_->forward(u, nullptr));
  if (shift_) parts.add(shift_->forward(u));
  return joined(parts);
}

Tensor RecurformerMixer::recency(const Tensor& u, std::int64_t k) const {
  return attention_ ? attention_->recency(u, k) : Tensor();
}

std::unique_ptr<MixerState> RecurformerMixer::new_state(std::int64_t batch, std::int64_t max_tokens,
                                                        Placement place) const {
  if (batch < 1 || max_tokens < 1) {
    raise<ValueError>("recurformer state: batch and max_tokens must be at least 1, got ", batch, " and ", max_tokens);
  }
  auto state = std::make_unique<RecurformerState>();
  state->batch = batch;
  if (attention_) state->attention = attention_->new_state(batch, max_tokens, place);
  if (mamba_) state->mamba = mamba_->new_state(batch, place);
  if (shift_) state->ring = shift_->new_ring(batch, place);
  return state;
}

Tensor RecurformerMixer::prefill(const Tensor& u, MixerState& base) const {
  auto* state = dynamic_cast<RecurformerState*>(&base);
  if (state == nullptr || state->batch != u.dim(0)) {
    raise<ValueError>("recurformer: the state must come from this mixer's new_state with batch ", u.dim(0));
  }
  const TokenPosition first = state->next_position();
  if (state->attention) state->attention->device_position = state->device_position;
  state->consumed += u.dim(1);  // at once: an exception below leaves a state that the decoder refuses
  Parts parts;
  if (attention_) parts.add(attention_->prefill(u, *state->attention));
  if (mamba_) parts.add(mamba_->forward(u, &*state->mamba));
  if (shift_) parts.add(shift_->prefill(u, state->ring, first));
  return joined(parts);
}

double RecurformerMixer::operations(std::int64_t tokens) const {
  return (attention_ ? attention_->operations(tokens) : 0) + (mamba_ ? mamba_->operations() : 0) +
         (shift_ ? shift_->operations() : 0) + static_cast<double>(o_->operations());
}

std::size_t RecurformerMixer::state_bytes(std::int64_t tokens, DType dtype) const {
  return (attention_ ? attention_->state_bytes(tokens, dtype) : 0) + (mamba_ ? mamba_->state_bytes(dtype) : 0) +
         (shift_ ? shift_->state_bytes(dtype) : 0);
}

}  // namespace mixgrad
