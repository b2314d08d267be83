#include "nn/mixers/shortcut_mixer.h"

#include <algorithm>

#include "autograd/tape.h"
#include "core/error.h"
#include "core/text/plural.h"
#include "nn/config/kinds/attention.h"
#include "ops/attention/attention.h"
#include "ops/elementwise/elementwise.h"
#include "ops/rope/rope.h"

namespace mixgrad {
namespace {

const AttentionConfig& last_layer(const ModelConfig& config) { return config.layers.back().get<AttentionConfig>(); }

// Channels that kv reads at once: those of one source, in the feature form those of all.
std::int64_t kv_inputs(const ModelConfig& config) {
  const auto sources = static_cast<std::int64_t>(config.shortcut->sources.size());
  return config.shortcut->concat == ShortcutConcat::feature ? sources * config.d_model : config.d_model;
}

}  // namespace

ShortcutMixer::ShortcutMixer(const MixerSetup& setup)
    : concat_(setup.config.shortcut->concat),
      width_(setup.config.d_model),
      heads_(last_layer(setup.config).heads),
      kv_heads_(last_layer(setup.config).kv_heads),
      head_dim_(width_ / heads_),
      context_(setup.config.context),
      rotary_(setup.config.positions == Positions::rope && concat_ != ShortcutConcat::depth),
      theta_(setup.config.rope_theta),
      q_(setup.parameters, setup.prefix + ".q", width_, heads_ * head_dim_, setup.config.bias, kInitDeviation),
      kv_(setup.parameters, setup.prefix + ".kv", kv_inputs(setup.config), 2 * kv_heads_ * head_dim_, setup.config.bias,
          kInitDeviation),
      o_(setup.parameters, setup.prefix + ".o", heads_ * head_dim_, width_, setup.config.bias, setup.out_deviation) {
  const std::int64_t hidden = setup.config.shortcut->hidden;
  const bool bias = setup.config.bias;
  for (const std::int64_t depth : setup.config.shortcut->sources) {
    const std::string name = "shortcut." + std::to_string(sources_.size());
    const NormLayer norm(setup.parameters, name + ".norm", setup.config);
    const Linear up(setup.parameters, name + ".up", width_, hidden, bias, kInitDeviation);
    const Linear down(setup.parameters, name + ".down", hidden, width_, bias, kInitDeviation);
    sources_.push_back({depth, norm, up, down});
  }
}

std::string ShortcutMixer::describe() const {
  std::string text = "shortcut to";
  for (const Source& source : sources_) text += " " + std::to_string(source.depth);
  return text + " (" + to_string(concat_) + "), " + count_text(heads_, "head") + " of width " +
         std::to_string(head_dim_) + ", " + count_text(kv_heads_, "key/value head") + (rotary_ ? ", rotary" : "");
}

std::int64_t ShortcutMixer::rows_per_token() const {
  return concat_ == ShortcutConcat::feature ? 1 : static_cast<std::int64_t>(sources_.size());
}

std::int64_t ShortcutMixer::state_rows() const { return concat_ == ShortcutConcat::depth ? 0 : rows_per_token(); }

void ShortcutMixer::add_source(std::int64_t depth, const NormedInput& below, DType dtype, Tensor& sources) const {
  for (std::size_t m = 0; m < sources_.size(); ++m) {
    const Source& source = sources_[m];
    if (source.depth != depth) continue;
    const Tensor& h = below.sum();
    if (!sources.defined()) {
      sources =
          Tensor::empty(h.shape().with_last(static_cast<std::int64_t>(sources_.size()) * width_), dtype, h.device());
    }
    const Tensor hidden = gelu(source.up.forward(source.norm.forward(h, dtype)));
    source.down.forward_into(hidden, sources, static_cast<std::int64_t>(m) * width_);
  }
}

Tensor ShortcutMixer::queries(const NormedInput& u, TokenPosition first) const {
  return rotary_ ? q_.forward_rope(u, {heads_, head_dim_, theta_, first}) : q_.forward(u);
}

Tensor ShortcutMixer::keys_values(const Tensor& sources, TokenPosition first) const {
  const std::int64_t rows = rows_per_token();
  const Tensor f = sources.reshape({sources.dim(0), sources.dim(1) * rows, sources.dim(2) / rows});
  const Tensor kv = kv_.forward(f);
  return rotary_ ? rope(kv, {kv_heads_, head_dim_, theta_, first, rows}) : kv;
}

ShortcutAttentionOptions ShortcutMixer::options(std::int64_t window) const {
  return {heads_, kv_heads_, rows_per_token(), concat_ == ShortcutConcat::depth ? 1 : window};
}

// In the feature form a token has one row of keys: shortcut_attention over one source is attention.
Tensor ShortcutMixer::windowed(const LayerInput& input, std::int64_t window) const {
  const Tensor kv = keys_values(input.sources, 0);
  const std::int64_t half = kv_heads_ * head_dim_;
  ShortcutAttentionOptions with = options(window);
  with.dropout = input.dropout;
  return o_.forward(
      shortcut_attention(queries(input.normed, 0), columns(kv, 0, half), columns(kv, half, 2 * half), with));
}

Tensor ShortcutMixer::depth_mass(const LayerInput& input) const {
  if (concat_ == ShortcutConcat::feature) {
    raise<ValueError>("depth mass: a shortcut whose keys belong to one source each is required (concat sequence or ",
                      "depth); this model has concat feature, where every key is made of all sources");
  }
  const Tensor kv = keys_values(input.sources, 0);
  return shortcut_depth_mass(queries(input.normed, 0), kv.column_view(0, kv_heads_ * head_dim_), options(0));
}

RowRange ShortcutMixer::rows_without_gradient(std::string_view parameter) const {
  if (rotary_ || parameter != "kv.bias") return {};
  return {0, kv_heads_ * head_dim_};  // as AttentionHeads
}

std::unique_ptr<KeyValueState> ShortcutMixer::empty_state(std::int64_t batch, std::int64_t max_tokens,
                                                          Placement placement) const {
  auto state = std::make_unique<KeyValueState>();
  state->rings.emplace_back(batch, std::min(max_tokens, context_), state_rows(), kv_heads_ * head_dim_, placement);
  return state;
}

Tensor ShortcutMixer::continued(const LayerInput& input, KeyValueState& state, TokenPosition first) const {
  const Tensor q = queries(input.normed, first);
  const Tensor kv = keys_values(input.sources, first);
  const std::int64_t half = kv_heads_ * head_dim_;
  const Tensor k = kv.column_view(0, half);
  const Tensor v = kv.column_view(half, 2 * half);
  const KeyValueRing& ring = state.rings.front();
  if (ring.rows_per_token == 0) return o_.forward(shortcut_attention(q, k, v, options(0)));
  return o_.forward(ring.append(k, v, first, [&](const KeyValueRing::VisibleKeys& visible) {
    return shortcut_attention_cached(q, visible.keys, visible.values, visible.before, options(visible.window));
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
