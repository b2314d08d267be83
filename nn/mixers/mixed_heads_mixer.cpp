#include "nn/mixers/mixed_heads_mixer.h"

#include <algorithm>
#include <numeric>

#include "core/context.h"
#include "ops/heads/heads.h"

namespace mixgrad {
namespace {

bool contains(const std::vector<std::int64_t>& values, std::int64_t value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

// The query heads of these groups, ascending.
std::vector<std::int64_t> heads_of(const MixedHeadsConfig& layer, const std::vector<std::int64_t>& groups) {
  std::vector<std::int64_t> heads;
  for (const std::int64_t group : groups) {
    for (std::int64_t h = 0; h < layer.heads_per_group(); ++h) heads.push_back(group * layer.heads_per_group() + h);
  }
  return heads;
}

AttentionHeads::Sizes softmax_sizes(const MixedHeadsConfig& layer, const std::vector<std::int64_t>& groups,
                                    std::int64_t head_dim) {
  AttentionHeads::Sizes sizes{.heads = static_cast<std::int64_t>(groups.size()) * layer.heads_per_group(),
                              .kv_heads = static_cast<std::int64_t>(groups.size()),
                              .head_dim = head_dim,
                              .window = layer.window,
                              .bias = layer.qkv_bias};
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (contains(layer.window_groups, groups[i])) sizes.windowed_groups.push_back(static_cast<std::int64_t>(i));
  }
  return sizes;
}

}  // namespace

std::size_t MixedHeadsState::bytes() const {
  return bytes_of(attention) + (mamba ? mamba->bytes() : 0) + (ring.defined() ? ring.bytes() : 0);
}

void MixedHeadsState::clear() {
  if (mamba) mamba->reset();  // the rings are not read before they are written
}

std::unique_ptr<MixerState> MixedHeadsState::clone() const {
  auto copy = std::make_unique<MixedHeadsState>(*this);
  copy->attention = mixgrad::clone(attention);
  if (mamba) copy->mamba = mamba->clone();
  if (ring.defined()) copy->ring = ring.clone();
  return copy;
}

MixedHeadsMixer::MixedHeadsMixer(const MixedHeadsConfig& layer, const MixerSetup& setup)
    : name_(layer.pattern_name()), head_dim_(setup.config.d_model / layer.heads) {
  std::vector<std::int64_t> softmax_groups;
  for (std::int64_t group = 0; group < layer.kv_heads; ++group) {
    if (contains(layer.recurrent_groups, group) || contains(layer.shift_groups, group)) continue;
    softmax_groups.push_back(group);
  }
  const std::vector<std::int64_t> softmax = heads_of(layer, softmax_groups);
  const std::vector<std::int64_t> recurrent = heads_of(layer, layer.recurrent_groups);
  const std::vector<std::int64_t> shifted = heads_of(layer, layer.shift_groups);
  const std::int64_t width = setup.config.d_model;
  std::size_t parts = 0;
  if (!softmax.empty()) {
    attention_.emplace(setup, softmax_sizes(layer, softmax_groups, head_dim_));
    parts += attention_->bands();
    for (std::size_t b = 0; b < attention_->bands(); ++b) {
      for (const std::int64_t i : attention_->heads_of(b)) order_.push_back(softmax[static_cast<std::size_t>(i)]);
    }
  }
  if (!recurrent.empty()) {
    // Where no product follows the heads, theirs is the last before the residual stream.
    const double out_scale = layer.o ? 1.0 : setup.out_deviation / kInitDeviation;
    mamba_.emplace(setup.parameters, setup.prefix + ".mamba", width, head_dim_,
                   static_cast<std::int64_t>(recurrent.size()), layer, out_scale);
    order_.insert(order_.end(), recurrent.begin(), recurrent.end());
    ++parts;
  }
  if (!shifted.empty()) {
    shift_.emplace(setup.parameters, setup.prefix + ".shift", setup.config, head_dim_, layer.shifts);
    order_.insert(order_.end(), shifted.begin(), shifted.end());
    ++parts;
  }
  in_order_ = parts == 1;
  if (layer.o) o_.emplace(setup.parameters, setup.prefix + ".o", width, width, setup.config.bias, setup.out_deviation);
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

Tensor MixedHeadsMixer::joined(const HeadParts& parts) const {
  if (!in_order_) {
    return o_ ? o_->forward_heads(parts.all(), order_, head_dim_) : concat_heads(parts.all(), order_, head_dim_);
  }
  const Tensor& only = parts.parts.front();
  const Tensor heads = only.reshape({only.dim(0), only.dim(1), only.numel() / (only.dim(0) * only.dim(1))});
  return o_ ? o_->forward(heads) : heads;
}

Tensor MixedHeadsMixer::windowed(const LayerInput& input, std::int64_t window) const {
  HeadParts parts;
  if (attention_) attention_->forward(input, window, parts);
  if (mamba_) parts.add(mamba_->forward(input.normed, nullptr));
  if (shift_) parts.add(shift_->forward(input.normed));
  return joined(parts);
}

std::vector<std::int64_t> MixedHeadsMixer::softmax_windows() const {
  return attention_ ? attention_->windows() : std::vector<std::int64_t>();
}

Tensor MixedHeadsMixer::recency(const LayerInput& input, std::int64_t k) const {
  return attention_ ? attention_->recency(input.normed, k) : Tensor();
}

Tensor MixedHeadsMixer::softmax_profile(const LayerInput& input) const {
  return attention_ ? attention_->profile(input.normed) : Tensor();
}

Tensor MixedHeadsMixer::softmax_outputs(const LayerInput& input) const {
  return attention_ ? attention_->outputs(input.normed) : Tensor();
}

Tensor MixedHeadsMixer::softmax_weights(const LayerInput& input) const {
  return attention_ ? attention_->weights(input.normed) : Tensor();
}

Tensor MixedHeadsMixer::mamba_outputs(const LayerInput& input) const {
  if (!mamba_) return {};
  HeadParts parts;
  parts.add(mamba_->forward(input.normed, nullptr));  // [B,T,R,dh]
  std::vector<std::int64_t> order(static_cast<std::size_t>(parts.parts.front().dim(2)));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  return concat_heads(parts.all(), order, head_dim_);
}

Tensor MixedHeadsMixer::shift_outputs(const LayerInput& input) const {
  return shift_ ? shift_->forward(input.normed) : Tensor();
}

MambaSelection MixedHeadsMixer::mamba_selection(const LayerInput& input) const {
  return mamba_ ? mamba_->mamba_selection(input.normed) : MambaSelection{};
}

RowRange MixedHeadsMixer::rows_without_gradient(std::string_view parameter) const {
  return attention_ ? attention_->rows_without_gradient(parameter) : RowRange{};
}

std::unique_ptr<MixedHeadsState> MixedHeadsMixer::empty_state(std::int64_t batch, std::int64_t max_tokens,
                                                              Placement placement) const {
  auto state = std::make_unique<MixedHeadsState>();
  if (attention_) state->attention = attention_->new_rings(batch, max_tokens, placement);
  if (mamba_) state->mamba = mamba_->new_state(batch, placement);
  if (shift_) state->ring = shift_->new_ring(batch, placement);
  return state;
}

// In a decoding step on a CUDA device one product begins all heads, and the kernel of the Mamba heads, a few blocks of
// threads, runs beside that of the softmax heads: a layer then takes as long as the longer of the two.
Tensor MixedHeadsMixer::continued(const LayerInput& input, MixedHeadsState& state, TokenPosition first) const {
  HeadParts parts;
  std::optional<Tensor> packed;  // the softmax heads' columns, then those of the Mamba heads
  if (attention_ && mamba_ && input.normed.shape()[1] == 1 && context().weights_at_rest) {
    packed = attention_->project_beside(input.normed, first, mamba_->input_weight());
  }
  if (packed) {
    const Tensor out = mamba_->new_output(packed->dim(0));
    attention_->attend(*packed, state.attention, first, parts);
    const Tensor projected = packed->column_view(packed->cols() - mamba_->input_weight().dim(0), packed->cols());
    parts.add(mamba_->step_beside(projected, *state.mamba, out));
  } else {
    if (attention_) attention_->continued(input.normed, state.attention, first, parts);
    if (mamba_) parts.add(mamba_->forward(input.normed, &*state.mamba));
  }
  if (shift_) parts.add(shift_->prefill(input.normed, state.ring, first));
  return joined(parts);
}

double MixedHeadsMixer::operations(std::int64_t tokens) const {
  return (attention_ ? attention_->operations(tokens) : 0) + (mamba_ ? mamba_->operations() : 0) +
         (shift_ ? shift_->operations() : 0) + (o_ ? static_cast<double>(o_->operations()) : 0);
}

std::size_t MixedHeadsMixer::state_bytes(std::int64_t tokens, DType dtype) const {
  return (attention_ ? attention_->state_bytes(tokens, dtype) : 0) + (mamba_ ? mamba_->state_bytes(dtype) : 0) +
         (shift_ ? shift_->state_bytes(dtype) : 0);
}

std::unique_ptr<Mixer> make_mixed_heads_mixer(const LayerConfig& layer, const MixerSetup& setup) {
  return std::make_unique<MixedHeadsMixer>(layer.get<MixedHeadsConfig>(), setup);
}

}  // namespace mixgrad
