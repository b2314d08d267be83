#include "nn/mixers/attention_mixer.h"

#include <algorithm>
#include <cmath>

#include "autograd/tape.h"
#include "core/text/plural.h"
#include "ops/heads/heads.h"
#include "ops/rope/rope.h"

namespace mixgrad {
namespace {

// The smaller of two windows, of which 0 stands for no limit.
std::int64_t narrower(std::int64_t a, std::int64_t b) { return a == 0 ? b : b == 0 ? a : std::min(a, b); }

// Keys that a query sees, in the mean over `tokens` of them.
double mean_keys(std::int64_t tokens, std::int64_t window) {
  const auto n = static_cast<double>(tokens);
  if (window == 0 || window >= tokens) return (n + 1) / 2;
  const auto w = static_cast<double>(window);
  return w - w * (w - 1) / (2 * n);
}

}  // namespace

double uniform_recency(std::int64_t n, std::int64_t k, std::int64_t attention_window) {
  const std::int64_t seen = narrower(n, attention_window);
  if (k + 1 >= seen) return 1;
  double tail = 0;  // H_seen - H_{k+1}
  for (std::int64_t i = k + 2; i <= seen; ++i) tail += 1.0 / static_cast<double>(i);
  const auto recent = static_cast<double>(k + 1);
  const double full = static_cast<double>(n - seen) / static_cast<double>(seen);  // queries that see a whole window
  return recent / static_cast<double>(n) * (1 + tail + full);
}

AttentionHeads::AttentionHeads(const MixerSetup& setup, const Sizes& sizes)
    : heads_(sizes.heads),
      kv_heads_(sizes.kv_heads),
      head_dim_(sizes.head_dim),
      context_(setup.config.context),
      rotary_(setup.config.positions == Positions::rope),
      theta_(setup.config.rope_theta),
      qkv_(setup.parameters, setup.prefix + ".qkv", setup.config.d_model,
           (sizes.heads + 2 * sizes.kv_heads) * sizes.head_dim, sizes.bias.value_or(setup.config.bias),
           kInitDeviation) {
  std::vector<std::int64_t> others;
  for (std::int64_t g = 0; g < kv_heads_; ++g) {
    const auto& windowed = sizes.windowed_groups;
    if (std::find(windowed.begin(), windowed.end(), g) == windowed.end()) others.push_back(g);
  }
  // The band with the first group comes first, so that two that lie one after the other keep their order.
  const bool windowed_first = !sizes.windowed_groups.empty() && (others.empty() || others.front() != 0);
  if (windowed_first) add_band(sizes.window, sizes.windowed_groups);
  if (!others.empty()) add_band(0, others);
  if (!windowed_first && !sizes.windowed_groups.empty()) add_band(sizes.window, sizes.windowed_groups);
  const std::int64_t per_group = heads_ / kv_heads_;
  std::int64_t group = 0;
  std::vector<std::int64_t> slots(static_cast<std::size_t>(heads_ + 2 * kv_heads_));
  for (Band& band : bands_) {
    band.q = group * per_group * head_dim_;
    band.k = (heads_ + group) * head_dim_;
    band.v = (heads_ + kv_heads_ + group) * head_dim_;
    for (std::int64_t i = 0; i < band.kv_heads; ++i, ++group) {
      const std::int64_t from = band.numbers[static_cast<std::size_t>(i * per_group)] / per_group;
      for (std::int64_t h = 0; h < per_group; ++h) {
        slots[static_cast<std::size_t>(from * per_group + h)] = group * per_group + h;
      }
      slots[static_cast<std::size_t>(heads_ + from)] = heads_ + group;
      slots[static_cast<std::size_t>(heads_ + kv_heads_ + from)] = heads_ + kv_heads_ + group;
    }
  }
  if (!std::is_sorted(slots.begin(), slots.end())) slots_ = std::move(slots);
}

void AttentionHeads::add_band(std::int64_t window, const std::vector<std::int64_t>& groups) {
  const std::int64_t per_group = heads_ / kv_heads_;
  const auto count = static_cast<std::int64_t>(groups.size());
  Band band{.heads = count * per_group, .kv_heads = count, .window = window};
  for (const std::int64_t group : groups) {
    for (std::int64_t h = 0; h < per_group; ++h) band.numbers.push_back(group * per_group + h);
  }
  bands_.push_back(std::move(band));
}

AttentionOptions AttentionHeads::Band::options(std::int64_t most) const {
  return {heads, kv_heads, narrower(window, most)};
}

std::string AttentionHeads::describe() const {
  std::string text = count_text(heads_, "head") + " of width " + std::to_string(head_dim_) + ", " +
                     count_text(kv_heads_, "key/value head") + (rotary_ ? ", rotary" : "");
  for (const Band& band : bands_) {
    if (band.window == 0) continue;
    text += bands_.size() == 1 ? ", a window of " : ", " + count_text(band.heads, "head") + " with a window of ";
    text += count_text(band.window, "token");
  }
  return text;
}

Tensor AttentionHeads::packed_qkv(const NormedInput& u, TokenPosition first) const {
  const Tensor packed =
      rotary_ ? qkv_.forward_rope(u, {heads_ + kv_heads_, head_dim_, theta_, first}) : qkv_.forward(u);
  return slots_.empty() ? packed : concat_heads(std::span(&packed, 1), slots_, head_dim_);
}

void AttentionHeads::forward(const LayerInput& input, std::int64_t window, HeadParts& parts) const {
  const Tensor packed = packed_qkv(input.normed, 0);
  DropoutMask dropout = input.dropout;
  for (const Band& band : bands_) {
    const std::int64_t width = band.kv_heads * head_dim_;
    AttentionOptions options = band.options(window);
    options.dropout = dropout;
    parts.add(attention(columns(packed, band.q, band.q + band.heads * head_dim_),
                        columns(packed, band.k, band.k + width), columns(packed, band.v, band.v + width), options));
    ++dropout.place;
  }
}

// What probe(q, k, lse, options) says of the heads of each band, [...,H_b,C] with C = 1 left out, put in the order of
// the heads.
template <class Probe>
Tensor AttentionHeads::probed(const NormedInput& u, const Probe& probe) const {
  const Tensor packed = packed_qkv(u, 0);
  Tensor all;
  for (const Band& band : bands_) {
    const std::int64_t width = band.kv_heads * head_dim_;
    const Tensor q = packed.column_view(band.q, band.q + band.heads * head_dim_);
    const Tensor key = packed.column_view(band.k, band.k + width);
    const Tensor lse = attention_with_lse(q, key, packed.column_view(band.v, band.v + width), band.options()).lse;
    const Tensor of_band = probe(q, key, lse, band.options());
    if (bands_.size() == 1) return of_band;
    const Tensor values = of_band.to(kCpu);
    const std::int64_t columns = values.shape().rank() == 1 ? 1 : values.cols();
    const std::int64_t rows = values.numel() / columns / band.heads;  // the sequences of the batch, or one
    if (!all.defined()) {
      all = Tensor::empty(columns == 1 ? Shape{heads_} : Shape{rows, heads_, columns}, values.dtype());
    }
    for (std::int64_t i = 0; i < values.numel(); ++i) {
      const std::int64_t row = i / columns / band.heads;
      const std::int64_t head = band.numbers[static_cast<std::size_t>(i / columns % band.heads)];
      all.set((row * heads_ + head) * columns + i % columns, values.at(i));
    }
  }
  return all.to(packed.device());
}

Tensor AttentionHeads::recency(const NormedInput& u, std::int64_t k) const {
  return probed(u, [&](const Tensor& q, const Tensor& key, const Tensor& lse, const AttentionOptions& options) {
    return attention_recency(q, key, lse, k, options);
  });
}

Tensor AttentionHeads::profile(const NormedInput& u) const {
  return probed(u, [](const Tensor& q, const Tensor& key, const Tensor& lse, const AttentionOptions& options) {
    return attention_profile(q, key, lse, options);
  });
}

namespace {

// exp(q_i . k_j / sqrt(dh) - lse_i) in plain loops: [B,H,T T], f64 on the host.
Tensor weights_on_host(const Tensor& queries, const Tensor& keys, const Tensor& lse, const AttentionOptions& options) {
  const Tensor q = queries.to(kCpu).to(DType::f64);
  const Tensor k = keys.to(kCpu).to(DType::f64);
  const Tensor sums = lse.to(kCpu).to(DType::f64);
  const std::int64_t batch = q.dim(0);
  const std::int64_t tokens = q.dim(1);
  const std::int64_t width = q.cols() / options.heads;
  const Tensor result = Tensor::zeros({batch, options.heads, tokens * tokens}, DType::f64);
  const double* from = q.data<double>();
  const double* to = k.data<double>();
  double* out = result.data<double>();
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t h = 0; h < options.heads; ++h) {
      const std::int64_t group = h / (options.heads / options.kv_heads);
      for (std::int64_t i = 0; i < tokens; ++i) {
        const double* query = from + (b * tokens + i) * q.cols() + h * width;
        for (std::int64_t j = options.window > 0 ? std::max<std::int64_t>(0, i - options.window + 1) : 0; j <= i; ++j) {
          const double* key = to + (b * tokens + j) * k.cols() + group * width;
          double score = 0;
          for (std::int64_t c = 0; c < width; ++c) score += query[c] * key[c];
          out[((b * options.heads + h) * tokens + i) * tokens + j] =
              std::exp(score / std::sqrt(static_cast<double>(width)) - sums.at((b * options.heads + h) * tokens + i));
        }
      }
    }
  }
  return result;
}

}  // namespace

Tensor AttentionHeads::weights(const NormedInput& u) const { return probed(u, weights_on_host).to(kCpu); }

Tensor AttentionHeads::outputs(const NormedInput& u) const {
  HeadParts parts;
  forward(LayerInput(u, Tensor()), 0, parts);
  if (bands_.size() == 1) return parts.parts.front();
  std::vector<std::int64_t> order;
  for (const Band& band : bands_) order.insert(order.end(), band.numbers.begin(), band.numbers.end());
  return concat_heads(parts.all(), order, head_dim_);
}

std::vector<std::int64_t> AttentionHeads::windows() const {
  std::vector<std::int64_t> windows(static_cast<std::size_t>(heads_));
  for (const Band& band : bands_) {
    for (const std::int64_t head : band.numbers) windows[static_cast<std::size_t>(head)] = band.window;
  }
  return windows;
}

std::vector<KeyValueRing> AttentionHeads::new_rings(std::int64_t batch, std::int64_t max_tokens,
                                                    Placement placement) const {
  std::vector<KeyValueRing> rings;
  for (const Band& band : bands_) {
    const std::int64_t tokens = narrower(std::min(max_tokens, context_), band.window);
    rings.emplace_back(batch, tokens, 1, band.kv_heads * head_dim_, placement);
  }
  return rings;
}

std::optional<Tensor> AttentionHeads::project_beside(const NormedInput& u, TokenPosition first,
                                                     const Tensor& more_weight) const {
  if (!slots_.empty()) return std::nullopt;  // the heads of windows would have to be moved
  const RopeOptions rope{heads_ + kv_heads_, head_dim_, theta_, first};
  return qkv_.forward_beside(u, rotary_ ? &rope : nullptr, more_weight);
}

void AttentionHeads::continued(const NormedInput& u, const std::vector<KeyValueRing>& rings, TokenPosition first,
                               HeadParts& parts) const {
  attend(packed_qkv(u, first), rings, first, parts);
}

void AttentionHeads::attend(const Tensor& packed, const std::vector<KeyValueRing>& rings, TokenPosition first,
                            HeadParts& parts) const {
  for (std::size_t b = 0; b < bands_.size(); ++b) {
    const Band& band = bands_[b];
    const KeyValueRing& ring = rings[b];
    const std::int64_t width = band.kv_heads * head_dim_;
    const Tensor q = packed.column_view(band.q, band.q + band.heads * head_dim_);
    const Tensor k = packed.column_view(band.k, band.k + width);
    const Tensor v = packed.column_view(band.v, band.v + width);
    AttentionOptions options{band.heads, band.kv_heads, 0};  // the ring holds what the window shows
    if (q.dim(1) == 1) {
      parts.add(attention_append_cached(q, k, v, ring.keys, ring.values, first, options));
      continue;
    }
    parts.add(ring.append(k, v, first, [&](const KeyValueRing::VisibleKeys& visible) {
      options.window = visible.window;
      return attention_cached(q, visible.keys, visible.values, visible.before, options);
    }));
  }
}

double AttentionHeads::operations(std::int64_t tokens) const {
  auto total = static_cast<double>(qkv_.operations());
  for (const Band& band : bands_) {
    total += 4.0 * mean_keys(tokens, band.window) * static_cast<double>(band.heads * head_dim_);
  }
  return total;
}

std::size_t AttentionHeads::state_bytes(std::int64_t tokens, DType dtype) const {
  std::int64_t elements = 0;
  for (const Band& band : bands_) {
    elements += 2 * narrower(std::min(tokens, context_), band.window) * band.kv_heads * head_dim_;
  }
  return static_cast<std::size_t>(elements) * dtype_bytes(dtype);
}

RowRange AttentionHeads::rows_without_gradient(std::string_view parameter) const {
  if (rotary_ || parameter != "qkv.bias") return {};
  return {heads_ * head_dim_, (heads_ + kv_heads_) * head_dim_};
}

namespace {

AttentionHeads::Sizes sizes_of(const AttentionConfig& layer, const MixerSetup& setup) {
  AttentionHeads::Sizes sizes{.heads = layer.heads,
                              .kv_heads = layer.kv_heads,
                              .head_dim = setup.config.d_model / layer.heads,
                              .window = layer.window,
                              .bias = layer.qkv_bias};
  for (std::int64_t g = 0; layer.window > 0 && g < layer.kv_heads; ++g) sizes.windowed_groups.push_back(g);
  return sizes;
}

}  // namespace

AttentionMixer::AttentionMixer(const AttentionConfig& layer, const MixerSetup& setup)
    : heads_(setup, sizes_of(layer, setup)),
      o_(setup.parameters, setup.prefix + ".o", setup.config.d_model, setup.config.d_model, setup.config.bias,
         setup.out_deviation) {}

// All groups have the same window, so there is one part and one ring.
Tensor AttentionMixer::windowed(const LayerInput& input, std::int64_t window) const {
  HeadParts parts;
  heads_.forward(input, window, parts);
  return o_.forward(parts.parts.front());
}

std::unique_ptr<KeyValueState> AttentionMixer::empty_state(std::int64_t batch, std::int64_t max_tokens,
                                                           Placement placement) const {
  auto state = std::make_unique<KeyValueState>();
  state->rings = heads_.new_rings(batch, max_tokens, placement);
  return state;
}

Tensor AttentionMixer::continued(const LayerInput& input, KeyValueState& state, TokenPosition first) const {
  HeadParts parts;
  heads_.continued(input.normed, state.rings, first, parts);
  return o_.forward(parts.parts.front());
}

double AttentionMixer::operations(std::int64_t tokens) const {
  return heads_.operations(tokens) + static_cast<double>(o_.operations());
}

std::unique_ptr<Mixer> make_attention_mixer(const LayerConfig& layer, const MixerSetup& setup) {
  return std::make_unique<AttentionMixer>(layer.get<AttentionConfig>(), setup);
}

}  // namespace mixgrad
