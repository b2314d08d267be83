#include "nn/model/decoder.h"

#include <algorithm>
#include <cmath>

#include "autograd/recompute.h"
#include "core/error.h"
#include "core/text/plural.h"
#include "nn/mixers/mixer_kinds.h"
#include "nn/mixers/shortcut_mixer.h"
#include "ops/dropout/dropout.h"
#include "ops/embedding/embedding.h"
#include "ops/linear/linear.h"
#include "ops/linear_cross_entropy/linear_cross_entropy.h"

namespace mixgrad {
namespace {

// The places of a dropout: the embedding sum, and some for each layer.
constexpr std::uint32_t kEmbeddingPlace = 0;
constexpr std::uint32_t kLayerPlaces = LayerInput::kPlaces + 2;
static_assert(kMaxLayers * kLayerPlaces < DropoutMask::kPlaces);

std::uint32_t attention_place(std::size_t layer) { return 1 + static_cast<std::uint32_t>(layer) * kLayerPlaces; }
std::uint32_t mixer_place(std::size_t layer) { return attention_place(layer) + LayerInput::kPlaces; }
std::uint32_t mlp_place(std::size_t layer) { return mixer_place(layer) + 1; }

}  // namespace

std::size_t DecoderState::bytes() const {
  std::size_t total = 0;
  for (const auto& mixer : mixers) total += mixer->bytes();
  return total;
}

void DecoderState::reset() {
  for (const auto& mixer : mixers) mixer->reset();
  consumed = 0;
}

DecoderState DecoderState::clone() const {
  DecoderState copy;
  copy.batch = batch;
  copy.consumed = consumed;
  for (const auto& mixer : mixers) copy.mixers.push_back(mixer->clone());
  return copy;
}

void DecoderState::read_position_at(const std::int64_t* position) {
  device_position = position;
  for (const auto& mixer : mixers) mixer->device_position = position;
}

void DecoderState::advance(std::int64_t tokens) {
  for (const auto& mixer : mixers) mixer->advance(tokens);
  consumed += tokens;
}

std::map<std::string, Shape> parameter_shapes(const ModelConfig& config) {
  const Decoder model(config);
  std::map<std::string, Shape> shapes;
  for (std::size_t i = 0; i < model.parameters_.size(); ++i) {
    shapes.emplace(model.parameters_[i].name, model.parameters_[i].shape);
  }
  return shapes;
}

std::size_t decoding_bytes(const ModelConfig& config, std::int64_t tokens, DType dtype) {
  ModelConfig longer = config;
  longer.context = std::max(config.context, tokens);
  const Decoder model(longer);
  std::size_t bytes = 0;
  for (const Decoder::Layer& layer : model.layers_) bytes += layer.mixer->state_bytes(tokens, dtype);
  return bytes;
}

Decoder::Decoder(const ModelConfig& config, Placement placement) : Decoder(config) {
  parameters_.allocate(placement.dtype, placement.device);
  context_ = placement.context;
}

Decoder::Decoder(const ModelConfig& config) : config_(config) {
  validate(config_);
  // What is added to the residual stream starts smaller the more often something is added, as in GPT-2.
  const double additions = config_.mlp == Mlp::none ? 1 : 2;  // of a layer
  const double out_deviation = kInitDeviation / std::sqrt(additions * static_cast<double>(config_.layers.size()));
  const Shape table{config_.vocab_size, config_.d_model};
  embed_ = parameters_.add("embed.weight", table, Init::normal(kInitDeviation), true);
  if (config_.positions == Positions::learned) {
    positions_ = parameters_.add("pos.weight", {config_.context, config_.d_model}, Init::normal(kInitDeviation), true);
  }
  for (std::size_t l = 0; l < config_.layers.size(); ++l) {
    const std::string prefix = "layers." + std::to_string(l);
    NormLayer norm1(parameters_, prefix + ".norm1", config_);
    const MixerSetup setup{parameters_, prefix + ".mixer", config_, out_deviation};
    const bool has_shortcut = config_.shortcut && l + 1 == config_.layers.size();
    std::unique_ptr<Mixer> mixer =
        has_shortcut ? std::make_unique<ShortcutMixer>(setup) : make_mixer(config_.layers[l], setup);
    layers_.push_back({.norm1 = norm1, .mixer = std::move(mixer), .norm2 = {}, .mlp = {}});
    if (config_.mlp == Mlp::none) continue;
    layers_.back().norm2.emplace(parameters_, prefix + ".norm2", config_);
    layers_.back().mlp.emplace(parameters_, prefix + ".mlp", config_, out_deviation);
  }
  norm_.emplace(parameters_, "norm", config_);
  if (!config_.tie_embeddings) head_ = parameters_.add("head.weight", table, Init::normal(kInitDeviation), true);
}

// `mix(layer index, mixer, input)` runs one mixer. The last layer's is given the hidden states as they appear, so none
// of them is kept for it.
template <class Mix>
NormedInput Decoder::run(const Tensor& tokens, TokenPosition first, const Mix& mix, const DropoutMask& dropout) const {
  // In a decoding step on CUDA a norm may be computed by the product that takes it; elsewhere here and now.
  const bool may_wait = device().is_cuda() && tokens.dim(1) == 1 && !tracked(embed_->value);
  const auto normed = [&](const NormLayer& norm, const Tensor& x, const Tensor& y) {
    NormedInput input(norm, x, y, dtype());
    if (!may_wait) static_cast<void>(input.tensor());
    return input;
  };
  Tensor sources;  // [B,T,M D] in a model with a shortcut
  Tensor x = embedding(tokens.to(device()), embed_->value, positions_ == nullptr ? Tensor() : positions_->value, first);
  x = mixgrad::dropout(x, dropout.at(kEmbeddingPlace));
  Tensor y;  // what is still to be added to x
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    const NormedInput below = normed(layer.norm1, x, y);
    layers_.back().mixer->add_source(static_cast<std::int64_t>(l), below, dtype(), sources);
    LayerInput input(below, sources);
    input.dropout = dropout.at(attention_place(l));
    y = mixgrad::dropout(mix(l, *layer.mixer, input), dropout.at(mixer_place(l)));
    x = input.normed.sum();
    if (!layer.mlp) continue;
    const NormedInput middle = normed(*layer.norm2, x, y);
    y = mixgrad::dropout(layer.mlp->forward(middle), dropout.at(mlp_place(l)));
    x = middle.sum();
  }
  return normed(*norm_, x, y);
}

void Decoder::check_length(std::int64_t tokens, bool windowed) const {
  const bool unlimited = windowed && config_.positions != Positions::learned;
  if (tokens < 1 || (tokens > config_.context && !unlimited)) {
    raise<ShapeError>("decoder: a sequence must have 1 to ", config_.context, " tokens (the model's context), got ",
                      tokens);
  }
}

void Decoder::check_untracked(const char* what) const {
  if (tracked(embed_->value)) {
    raise<GradError>("decoder: ", what, " is not differentiable, but a tape watches the parameters; call it outside ",
                     "the tape's scope");
  }
}

Tensor Decoder::hidden(const Tensor& tokens, std::int64_t window) const {
  const ContextScope scope(context_);
  check_length(tokens.shape().rank() == 2 ? tokens.dim(1) : 0, window > 0);
  return run(tokens, 0,
             [&](std::size_t, const Mixer& mixer, const LayerInput& input) { return mixer.windowed(input, window); })
      .tensor();
}

Tensor Decoder::head_logits(const NormedInput& hidden) const {
  const Tensor& weight = head_ == nullptr ? embed_->value : head_->value;
  const std::optional<Tensor> logits = hidden.in_one({.weight = weight});
  return logits ? *logits : linear(hidden.tensor(), weight);
}

Tensor Decoder::logits(const Tensor& tokens, std::int64_t window) const {
  const ContextScope scope(context_);
  return head_logits(hidden(tokens, window));
}

namespace {

// A layer from its normed input on, and the norm after it: (x, u, sources) -> (x + what the layer adds, its norm),
// where x is the residual stream and u its norm. Plain values: it is kept on the tape.
template <class Layer>
struct LayerBlock {
  const Layer* layer;
  const NormLayer* next;
  std::size_t index;
  DropoutMask dropout;

  RecomputeOutputs operator()(const RecomputeInputs& in) const {
    LayerInput input(in[1], in[2]);
    input.dropout = dropout.at(attention_place(index));
    Tensor x = in[0];
    Tensor y = mixgrad::dropout(layer->mixer->forward(input), dropout.at(mixer_place(index)));
    if (layer->mlp) {
      SumAndNorm middle = layer->norm2->forward_sum(x, y);
      y = mixgrad::dropout(layer->mlp->forward(middle.normed), dropout.at(mlp_place(index)));
      x = std::move(middle.sum);
    }
    SumAndNorm after = next->forward_sum(x, y);
    return {std::move(after.sum), std::move(after.normed)};
  }
};

// Whether a tape watches a parameter of this layer.
bool watches_layer(const ParameterSet& parameters, std::size_t layer) {
  const std::string prefix = "layers." + std::to_string(layer) + ".";
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i].name.starts_with(prefix) && tracked(parameters[i].value)) return true;
  }
  return false;
}

// The final norm of the residual stream x after all layers, each of which is recomputed in the backward pass. What it
// computes is what Decoder::run computes.
template <class Layers>
Tensor recomputed_layers(const Layers& layers, const NormLayer& final_norm, const ParameterSet& parameters,
                         bool has_shortcut, Tensor x, const DropoutMask& dropout) {
  const DType dtype = parameters.dtype();
  Tensor u = layers.front().norm1.forward(x, dtype);
  Tensor sources;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const bool last = l + 1 == layers.size();
    layers.back().mixer->add_source(static_cast<std::int64_t>(l), NormedInput(layers[l].norm1, x, Tensor(), dtype),
                                    dtype, sources);
    const LayerBlock<std::decay_t<decltype(layers[l])>> block{&layers[l], last ? &final_norm : &layers[l + 1].norm1, l,
                                                              dropout};
    const RecomputeInputs in{x, u, last && has_shortcut ? sources : Tensor()};
    const bool learns = tracked(x) || tracked(u) || watches_layer(parameters, l);
    RecomputeOutputs out = learns ? recomputed(in, block) : block(in);
    x = std::move(out[0]);
    u = std::move(out[1]);
  }
  return u;
}

}  // namespace

NormedInput Decoder::run_training(const Tensor& tokens, const DropoutMask& dropout) const {
  check_length(tokens.shape().rank() == 2 ? tokens.dim(1) : 0, false);
  if (recomputing()) {
    const Tensor x =
        embedding(tokens.to(device()), embed_->value, positions_ == nullptr ? Tensor() : positions_->value, 0);
    return recomputed_layers(layers_, *norm_, parameters_, config_.shortcut.has_value(),
                             mixgrad::dropout(x, dropout.at(kEmbeddingPlace)), dropout);
  }
  return run(
      tokens, 0, [](std::size_t, const Mixer& mixer, const LayerInput& input) { return mixer.forward(input); },
      dropout);
}

Tensor Decoder::training_logits(const Tensor& tokens, const DropoutMask& dropout) const {
  const ContextScope scope(context_);
  return head_logits(run_training(tokens, dropout));
}

Tensor Decoder::loss(const Tensor& tokens, const Tensor& targets, const DropoutMask& dropout) const {
  const ContextScope scope(context_);
  const NormedInput last = run_training(tokens, dropout);
  return linear_cross_entropy(last.tensor(), head_ == nullptr ? embed_->value : head_->value, targets.to(device()));
}

DecoderState Decoder::new_state(std::int64_t batch, std::int64_t max_tokens) const {
  const ContextScope scope(context_);
  DecoderState state;
  state.batch = batch;
  for (const Layer& layer : layers_) {
    state.mixers.push_back(layer.mixer->new_state(batch, max_tokens, {dtype(), device()}));
  }
  return state;
}

void Decoder::check_prefill(const Tensor& tokens, const DecoderState& state) const {
  if (state.mixers.size() != layers_.size() || tokens.shape().rank() != 2 || tokens.dim(0) != state.batch) {
    raise<ValueError>("decoder: the state must come from this decoder's new_state, with the batch of tokens ",
                      tokens.shape());
  }
  if (positions_ != nullptr && state.consumed + tokens.dim(1) > config_.context) {
    raise<ValueError>("decoder: with learned positions at most ", count_text(config_.context, "token"),
                      " can be decoded, got ", state.consumed, " + ", tokens.dim(1),
                      "; restart the state from the last tokens");
  }
  check_untracked("prefill");
  for (const auto& mixer : state.mixers) {
    if (mixer->position() == state.consumed) continue;
    raise<ValueError>("decoder: every mixer of the state must have consumed ", count_text(state.consumed, "token"),
                      ", one has ", mixer->position(), ": an earlier call failed half-way; reset() the state");
  }
}

Tensor Decoder::prefill(const Tensor& tokens, DecoderState& state) const {
  Context settings = context_;
  settings.weights_at_rest = tokens.shape().rank() == 2 && tokens.dim(1) == 1;  // an embedding comes before them
  const ContextScope scope(settings);
  check_prefill(tokens, state);
  const NormedInput u = run(tokens, {state.consumed, state.device_position},
                            [&](std::size_t l, const Mixer& mixer, const LayerInput& input) {
                              return mixer.prefill(input, *state.mixers[l]);
                            });
  state.consumed += tokens.dim(1);
  return head_logits(u);
}

void Decoder::visit(const Tensor& tokens, const Look& look) const {
  const ContextScope scope(context_);
  check_length(tokens.shape().rank() == 2 ? tokens.dim(1) : 0, false);
  check_untracked("a look at mixers");
  run(tokens, 0, [&](std::size_t l, const Mixer& mixer, const LayerInput& input) {
    look(l, mixer, input);
    return l + 1 < layers_.size() ? mixer.forward(input)
                                  : input.u();  // nothing is asked of what follows the last mixer
  });
}

Tensor Decoder::lens(const Tensor& residual) const {
  const ContextScope scope(context_);
  check_untracked("a lens");
  return head_logits(NormedInput(*norm_, residual, {}, dtype()));
}

std::vector<Tensor> Decoder::recency(const Tensor& tokens, std::int64_t k) const {
  const ContextScope scope(context_);
  check_untracked("recency");
  std::vector<Tensor> ratios(layers_.size());
  visit(tokens,
        [&](std::size_t l, const Mixer& mixer, const LayerInput& input) { ratios[l] = mixer.recency(input, k); });
  return ratios;
}

DepthMass Decoder::depth_mass(const Tensor& tokens) const {
  const ContextScope scope(context_);
  if (!config_.shortcut) raise<ValueError>("depth mass: a model with a shortcut is required; this one has none");
  check_length(tokens.shape().rank() == 2 ? tokens.dim(1) : 0, false);
  check_untracked("depth_mass");
  DepthMass result;
  run(tokens, 0, [&](std::size_t l, const Mixer& mixer, const LayerInput& input) {
    if (l + 1 < layers_.size()) return mixer.forward(input);
    result.mass = mixer.depth_mass(input);
    return input.u();
  });
  const std::vector<std::int64_t>& sources = config_.shortcut->sources;
  const Tensor mass = result.mass.to(kCpu);
  const Tensor depth = Tensor::zeros(mass.shape().without_last(), mass.dtype());
  for (std::int64_t i = 0; i < mass.numel(); ++i) {
    const auto m = static_cast<std::size_t>(i % mass.cols());
    const std::int64_t query = i / mass.cols();
    depth.set(query, depth.at(query) + static_cast<double>(sources[m]) * mass.at(i));
  }
  result.effective_depth = depth.to(device());
  return result;
}

std::vector<LayerReport> Decoder::report() const {
  const auto count = [&](const std::string& prefix) {
    std::int64_t total = 0;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      if (parameters_[i].name.starts_with(prefix)) total += parameters_[i].shape.numel();
    }
    return total;
  };
  std::vector<LayerReport> rows;
  rows.push_back(
      {positions_ == nullptr ? "embedding" : "embedding and positions", count("embed.") + count("pos."), 0, 0});
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const std::string prefix = "layers." + std::to_string(l) + ".";
    const Layer& layer = layers_[l];
    const std::string name = "layer " + std::to_string(l) + " ";
    const std::int64_t below = l + 1 == layers_.size() ? count("shortcut.") : 0;
    rows.push_back({name + layer.mixer->describe(), count(prefix + "mixer.") + count(prefix + "norm1.") + below,
                    layer.mixer->operations(config_.context), layer.mixer->state_bytes(config_.context, dtype())});
    if (!layer.mlp) continue;
    rows.push_back({name + "mlp " + to_string(config_.mlp), count(prefix + "mlp.") + count(prefix + "norm2."),
                    static_cast<double>(layer.mlp->operations()), 0});
  }
  const double head_operations = 2.0 * static_cast<double>(config_.vocab_size * config_.d_model);
  rows.push_back({head_ == nullptr ? "norm and head (tied)" : "norm and head", count("norm.") + count("head."),
                  head_operations, 0});
  return rows;
}

}  // namespace mixgrad
