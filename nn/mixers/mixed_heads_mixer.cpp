#include "nn/mixers/mixed_heads_mixer.h"

#include <algorithm>

namespace mixgrad {
namespace {

bool contains(const std::vector<std::int64_t>& values, std::int64_t value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

// Appends the query heads of the groups for which `in` holds, ascending.
template <class In>
void append_heads(const MixedHeadsConfig& layer, const In& in, std::vector<std::int64_t>& heads) {
  for (std::int64_t h = 0; h < layer.heads; ++h) {
    if (in(h / layer.heads_per_group())) heads.push_back(h);
  }
}

}  // namespace

std::size_t MixedHeadsState::bytes() const {
  return (attention ? attention->bytes() : 0) + (mamba ? mamba->bytes() : 0) + (ring.defined() ? ring.bytes() : 0);
}

void MixedHeadsState::clear() {
  if (mamba) mamba->reset();  // the rings are not read before they are written
}

std::unique_ptr<MixerState> MixedHeadsState::clone() const {
  auto copy = std::make_unique<MixedHeadsState>(*this);
  if (attention) copy->attention = attention->clone();
  if (mamba) copy->mamba = mamba->clone();
  if (ring.defined()) copy->ring = ring.clone();
  return copy;
}

MixedHeadsMixer::MixedHeadsMixer(const MixedHeadsConfig& layer, const MixerSetup& setup)
    : name_(layer.pattern_name()), head_dim_(setup.config.d_model / layer.heads) {
  const auto recurrent = [&](std::int64_t group) { return contains(layer.recurrent_groups, group); };
  const auto shifted = [&](std::int64_t group) { return contains(layer.shift_groups, group); };
  append_heads(
      layer, [&](std::int64_t group) { return !recurrent(group) && !shifted(group); }, order_);
  const auto softmax_heads = static_cast<std::int64_t>(order_.size());
  append_heads(layer, recurrent, order_);
  const auto mamba_heads = static_cast<std::int64_t>(order_.size()) - softmax_heads;
  append_heads(layer, shifted, order_);
  in_order_ = softmax_heads == layer.heads || mamba_heads == layer.heads || softmax_heads + mamba_heads == 0;
  const std::int64_t width = setup.config.d_model;
  if (softmax_heads > 0) attention_.emplace(setup, softmax_heads, layer.softmax_groups(), head_dim_);
  if (mamba_heads > 0) {
    mamba_.emplace(setup.parameters, setup.prefix + ".mamba", width, head_dim_, mamba_heads, layer);
  }
  if (!layer.shift_groups.empty()) {
    shift_.emplace(setup.parameters, setup.prefix + ".shift", setup.config, head_dim_, layer.shifts);
  }
  o_.emplace(setup.parameters, setup.prefix + ".o", width, width, setup.config.bias, setup.out_deviation);
}

std::string MixedHeadsMixer::describe() const {
  std::string text;
  const auto add = [&](const std::string& kind, const std::string& what) {
    text += (text.empty() ? "" : "; ") + kind + " " + what;
  };
  if (attention_) add("softmax", attention_->describe());
  if (mamba_) add("mamba", mamba_->describe());
  if (shift_) add("shift", shift_->describe());
  return text;
}

Tensor MixedHeadsMixer::joined(const Parts& parts) const {
  if (!in_order_) return o_->forward_heads({parts.of_kind.data(), parts.count}, order_, head_dim_);
  const Tensor& only = parts.of_kind.front();
  return o_->forward(only.reshape({only.dim(0), only.dim(1), only.numel() / (only.dim(0) * only.dim(1))}));
}

Tensor MixedHeadsMixer::windowed(const LayerInput& input, std::int64_t window) const {
  Parts parts;
  if (attention_) parts.add(attention_->forward(input.normed, window));
  if (mamba_) parts.add(mamba_->forward(input.normed, nullptr));
  if (shift_) parts.add(shift_->forward(input.normed));
  return joined(parts);
}

Tensor MixedHeadsMixer::recency(const LayerInput& input, std::int64_t k) const {
  return attention_ ? attention_->recency(input.normed, k) : Tensor();
}

RowRange MixedHeadsMixer::rows_without_gradient(std::string_view parameter) const {
  return attention_ ? attention_->rows_without_gradient(parameter) : RowRange{};
}

std::unique_ptr<MixedHeadsState> MixedHeadsMixer::empty_state(std::int64_t batch, std::int64_t max_tokens,
                                                              Placement placement) const {
  auto state = std::make_unique<MixedHeadsState>();
  if (attention_) state->attention = attention_->new_ring(batch, max_tokens, placement);
  if (mamba_) state->mamba = mamba_->new_state(batch, placement);
  if (shift_) state->ring = shift_->new_ring(batch, placement);
  return state;
}

Tensor MixedHeadsMixer::continued(const LayerInput& input, MixedHeadsState& state, TokenPosition first) const {
  Parts parts;
  if (attention_) parts.add(attention_->continued(input.normed, *state.attention, first));
  if (mamba_) parts.add(mamba_->forward(input.normed, &*state.mamba));
  if (shift_) parts.add(shift_->prefill(input.normed, state.ring, first));
  return joined(parts);
}

double MixedHeadsMixer::operations(std::int64_t tokens) const {
  return (attention_ ? attention_->operations(tokens) : 0) + (mamba_ ? mamba_->operations() : 0) +
         (shift_ ? shift_->operations() : 0) + static_cast<double>(o_->operations());
}

std::size_t MixedHeadsMixer::state_bytes(std::int64_t tokens, DType dtype) const {
  return (attention_ ? attention_->state_bytes(tokens, dtype) : 0) + (mamba_ ? mamba_->state_bytes(dtype) : 0) +
         (shift_ ? shift_->state_bytes(dtype) : 0);
}

std::unique_ptr<Mixer> make_mixed_heads_mixer(const LayerConfig& layer, const MixerSetup& setup) {
  return std::make_unique<MixedHeadsMixer>(layer.get<MixedHeadsConfig>(), setup);
}

}  // namespace mixgrad
