#include "nn/mixers/shortcut_mixer.h"

#include <algorithm>

#include "autograd/tape.h"
#include "core/error.h"
#include "ops/attention/attention.h"
#include "ops/elementwise/elementwise.h"
#include "ops/rope/rope.h"

namespace mixgrad {
namespace {

const AttentionConfig& last_layer(const ModelConfig& config) { return std::get<AttentionConfig>(config.layers.back()); }

// Source rows per token that kv reads as one: all channels of all sources in the feature form.
std::int64_t kv_inputs(const ModelConfig& config) {
  const auto sources = static_cast<std::int64_t>(config.shortcut->sources.size());
  return config.shortcut->concat == ShortcutConcat::feature ? sources * config.d_model : config.d_model;
}

}  // namespace

ShortcutMixer::ShortcutMixer(ParameterSet& parameters, const std::string& prefix, const ModelConfig& config,
                             double out_deviation)
    : concat_(config.shortcut->concat),
      width_(config.d_model),
      heads_(last_layer(config).heads),
      kv_heads_(last_layer(config).kv_heads),
      head_dim_(config.d_model / heads_),
      context_(config.context),
      rotary_(config.positions == Positions::rope && concat_ != ShortcutConcat::depth),
      theta_(config.rope_theta),
      q_(parameters, prefix + ".q", width_, heads_ * head_dim_, config.bias, kInitDeviation),
      kv_(parameters, prefix + ".kv", kv_inputs(config), 2 * kv_heads_ * head_dim_, config.bias, kInitDeviation),
      o_(parameters, prefix + ".o", heads_ * head_dim_, width_, config.bias, out_deviation) {
  for (const std::int64_t depth : config.shortcut->sources) {
    const std::string name = "shortcut." + std::to_string(sources_.size());
    const std::int64_t hidden = config.shortcut->hidden;
    const NormLayer norm(parameters, name + ".norm", config);
    const Linear up(parameters, name + ".up", width_, hidden, config.bias, kInitDeviation);
    const Linear down(parameters, name + ".down", hidden, width_, config.bias, kInitDeviation);
    sources_.push_back({depth, norm, up, down});
  }
}

std::string ShortcutMixer::describe() const {
  std::string text = "shortcut to";
  for (const Source& source : sources_) text += " " + std::to_string(source.depth);
  return text + " (" + to_string(concat_) + "), " + std::to_string(heads_) + " heads of width " +
         std::to_string(head_dim_) + ", " + std::to_string(kv_heads_) + " key/value heads" +
         (rotary_ ? ", rotary" : "");
}

std::int64_t ShortcutMixer::rows_per_token() const {
  return concat_ == ShortcutConcat::feature ? 1 : static_cast<std::int64_t>(sources_.size());
}

std::int64_t ShortcutMixer::state_rows() const { return concat_ == ShortcutConcat::depth ? 0 : rows_per_token(); }

void ShortcutMixer::add_source(std::int64_t depth, const Tensor& h, DType dtype, Tensor& sources) const {
  for (std::size_t m = 0; m < sources_.size(); ++m) {
    const Source& source = sources_[m];
    if (source.depth != depth) continue;
    if (!sources.defined()) {
      sources =
          Tensor::empty(h.shape().with_last(static_cast<std::int64_t>(sources_.size()) * width_), dtype, h.device());
    }
    const Tensor hidden = gelu(source.up.forward(source.norm.forward(h, dtype)));
    source.down.forward_into(hidden, sources, static_cast<std::int64_t>(m) * width_);
  }
}

Tensor ShortcutMixer::queries(const Tensor& u, TokenPosition first_position) const {
  const Tensor q = q_.forward(u);
  return rotary_ ? rope(q, {heads_, head_dim_, theta_, first_position}) : q;
}

Tensor ShortcutMixer::keys_values(const Tensor& sources, TokenPosition first_position) const {
  const std::int64_t rows = rows_per_token();
  const Tensor f = sources.reshape({sources.dim(0), sources.dim(1) * rows, sources.dim(2) / rows});
  const Tensor kv = kv_.forward(f);
  return rotary_ ? rope(kv, {kv_heads_, head_dim_, theta_, first_position, rows}) : kv;
}

ShortcutAttentionOptions ShortcutMixer::options(std::int64_t window) const {
  return {heads_, kv_heads_, rows_per_token(), concat_ == ShortcutConcat::depth ? 1 : window};
}

// In the feature form a token has one row of keys: shortcut_attention over one source is attention.
Tensor ShortcutMixer::forward(const Tensor& u, const Tensor& sources, std::int64_t window) const {
  const Tensor kv = keys_values(sources, 0);
  const std::int64_t half = kv_heads_ * head_dim_;
  return o_.forward(
      shortcut_attention(queries(u, 0), columns(kv, 0, half), columns(kv, half, 2 * half), options(window)));
}

Tensor ShortcutMixer::depth_mass(const Tensor& u, const Tensor& sources) const {
  if (concat_ == ShortcutConcat::feature) {
    raise<ValueError>("depth mass: a shortcut whose keys belong to one source each is required (concat sequence or ",
                      "depth); this model has concat feature, where every key is made of all sources");
  }
  const Tensor kv = keys_values(sources, 0);
  return shortcut_depth_mass(queries(u, 0), kv.column_view(0, kv_heads_ * head_dim_), options(0));
}

std::unique_ptr<MixerState> ShortcutMixer::new_state(std::int64_t batch, std::int64_t max_tokens,
                                                     Placement place) const {
  return std::make_unique<KeyValueState>("shortcut", batch, std::min(max_tokens, context_), state_rows(),
                                         kv_heads_ * head_dim_, place);
}

Tensor ShortcutMixer::prefill(const Tensor& u, const Tensor& sources, MixerState& base) const {
  auto* state = dynamic_cast<KeyValueState*>(&base);
  if (state == nullptr || state->keys.dim(0) != u.dim(0) || state->rows_per_token != state_rows()) {
    raise<ValueError>("shortcut: the state must come from this layer's new_state with batch ", u.dim(0));
  }
  const Tensor q = queries(u, state->next_position());
  const Tensor kv = keys_values(sources, state->next_position());
  const std::int64_t half = kv_heads_ * head_dim_;
  const Tensor k = kv.column_view(0, half);
  const Tensor v = kv.column_view(half, 2 * half);
  if (state->rows_per_token == 0) {
    const Tensor y = o_.forward(shortcut_attention(q, k, v, options(0)));
    state->consumed += u.dim(1);
    return y;
  }
  return o_.forward(state->append(q, k, v, [&](const Tensor& some, TokenPosition position) {
    return shortcut_attention_cached(some, state->keys, state->values, position, options(0));
  }));
}

double ShortcutMixer::operations(std::int64_t tokens) const {
  double total = static_cast<double>(q_.operations() + kv_.operations() * rows_per_token() + o_.operations());
  for (const Source& source : sources_) total += static_cast<double>(source.up.operations() + source.down.operations());
  const double mean_tokens = concat_ == ShortcutConcat::depth ? 1.0 : static_cast<double>(tokens + 1) / 2.0;
  return total + 4.0 * mean_tokens * static_cast<double>(rows_per_token() * heads_ * head_dim_);
}

std::size_t ShortcutMixer::state_bytes(std::int64_t tokens, DType dtype) const {
  return static_cast<std::size_t>(2 * std::min(tokens, context_) * state_rows() * kv_heads_ * head_dim_) *
         dtype_bytes(dtype);
}

}  // namespace mixgrad
