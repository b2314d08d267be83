// The decoder of the model specification: embedding, layers of a mixer and an MLP, final norm, head.
//   x = embed[token] (+ pos[t]);  per layer: x += mixer(norm1(x)), x += mlp(norm2(x));  logits = norm(x) head^T
//   With mlp none a layer is its mixer alone.
// x, the residual stream, to which every layer adds, is f32 in a bf16 model. Residual sums are fused with the norm that
// follows them. In a model with a shortcut the mixer of the last layer is a ShortcutMixer, which attends to the hidden
// states of layers below it; it is given each of them as it appears.
//   Decoder model(config, {DType::f32, kCpu});   model.parameters().initialize(seed);
//   const Tensor loss = model.loss(tokens, targets);
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "nn/mixers/mixer.h"
#include "nn/modules/layers.h"

namespace mixgrad {

// What a decoder keeps between tokens: one state per layer.
struct DecoderState {
  std::vector<std::unique_ptr<MixerState>> mixers;
  std::int64_t batch = 0;
  std::int64_t consumed = 0;

  std::int64_t position() const { return consumed; }
  std::size_t bytes() const;
  void reset();
  DecoderState clone() const;

  // For steps captured as CUDA graphs (nn/model/step_graph.h). The first sets where kernels find the position from now
  // on, null to end that; the second counts tokens that a replay has consumed.
  void read_position_at(const std::int64_t* position);
  void advance(std::int64_t tokens);

  const std::int64_t* device_position = nullptr;
};

struct LayerReport {  // for `mixgrad inspect model`
  std::string what;
  std::int64_t parameters = 0;
  double operations = 0;        // per token at full context
  std::size_t state_bytes = 0;  // of one sequence at full context
};

// How the queries of a shortcut divide their attention over its sources.
struct DepthMass {
  Tensor mass;             // [B,H,T,M]: the attention that each source gets, summed over its tokens; sums to 1 over M
  Tensor effective_depth;  // [B,H,T]: sum over m of s_m mass_m, in layers
};

// The parameters that a configuration needs, without making them: name -> shape.
std::map<std::string, Shape> parameter_shapes(const ModelConfig& config);

// Bytes that one sequence of `tokens` tokens keeps while it is decoded, in a model of this configuration whose context
// is at least as long: the sum of the layers' formulas. Nothing is allocated.
std::size_t decoding_bytes(const ModelConfig& config, std::int64_t tokens, DType dtype);

class Decoder {
 public:
  // Allocates the parameters (f64, f32 or bf16) where `placement` says; they are zero until they are initialised or
  // loaded. Every call computes under the placement's context (core/context.h).
  Decoder(const ModelConfig& config, Placement placement);

  const ModelConfig& config() const { return config_; }
  ParameterSet& parameters() { return parameters_; }
  const ParameterSet& parameters() const { return parameters_; }
  DType dtype() const { return parameters_.dtype(); }
  Device device() const { return parameters_.device(); }
  const Context& context() const { return context_; }

  // Tokens and targets may be on the host: they are copied. Results are on the model's device.
  // tokens [B,T] i32, T <= context. window > 0: every softmax layer sees the last `window` tokens only; then, without
  // learned positions, T may exceed the context.
  Tensor hidden(const Tensor& tokens, std::int64_t window = 0) const;  // [B,T,D], after the final norm
  Tensor logits(const Tensor& tokens, std::int64_t window = 0) const;  // [B,T,V]
  // The same with the dropout of a training step, for a loss that is not the model's own.
  Tensor training_logits(const Tensor& tokens, const DropoutMask& dropout) const;
  // [1], nats a target. `dropout`, for training, is that of the step: of the embedding sum, of the attention
  // probabilities of every softmax head, and of what each mixer and each MLP adds to the residual stream.
  Tensor loss(const Tensor& tokens, const Tensor& targets, const DropoutMask& dropout = {}) const;

  // Decoding. A state may be continued as long as position() + T <= context, and without learned positions for ever.
  DecoderState new_state(std::int64_t batch, std::int64_t max_tokens) const;
  // [B,T] -> logits [B,T,V]. After an exception the state may be torn: it is refused until reset().
  Tensor prefill(const Tensor& tokens, DecoderState& state) const;
  Tensor step(const Tensor& tokens, DecoderState& state) const { return prefill(tokens, state); }  // [B,1]
  // What prefill requires of its arguments, but for the tokens' values: throws its errors.
  void check_prefill(const Tensor& tokens, const DecoderState& state) const;

  // Computes tokens [B,T] and shows each mixer with its input, in order. Not recorded.
  using Look = std::function<void(std::size_t layer, const Mixer& mixer, const LayerInput& input)>;
  void visit(const Tensor& tokens, const Look& look) const;

  // What the final norm and the head make of a residual stream [B,T,D], such as LayerInput::normed.sum() of a layer:
  // logits [B,T,V] ("logit lens"). Not recorded.
  Tensor lens(const Tensor& residual) const;

  // Recency ratios with window k on tokens [B,T]: one [softmax heads] per layer, undefined where it has none.
  std::vector<Tensor> recency(const Tensor& tokens, std::int64_t k) const;

  // Attention mass per source of the shortcut, for tokens [B,T]. ValueError when the model has no shortcut, or one with
  // concat feature.
  DepthMass depth_mass(const Tensor& tokens) const;

  const Mixer& mixer(std::size_t layer) const { return *layers_.at(layer).mixer; }
  std::vector<LayerReport> report() const;

 private:
  struct Layer {
    NormLayer norm1;
    std::unique_ptr<Mixer> mixer;
    std::optional<NormLayer> norm2;  // this and mlp are empty with mlp none
    std::optional<MlpLayer> mlp;
  };

  friend std::map<std::string, Shape> parameter_shapes(const ModelConfig& config);
  friend std::size_t decoding_bytes(const ModelConfig& config, std::int64_t tokens, DType dtype);
  explicit Decoder(const ModelConfig& config);  // parameters named, not allocated

  template <class Mix>
  NormedInput run(const Tensor& tokens, TokenPosition first, const Mix& mix, const DropoutMask& dropout = {}) const;
  NormedInput run_training(const Tensor& tokens, const DropoutMask& dropout) const;
  Tensor head_logits(const NormedInput& hidden) const;
  void check_length(std::int64_t tokens, bool windowed) const;
  void check_untracked(const char* what) const;  // GradError under a tape that watches the parameters

  ModelConfig config_;
  Context context_;
  ParameterSet parameters_;
  const Parameter* embed_ = nullptr;
  const Parameter* positions_ = nullptr;
  const Parameter* head_ = nullptr;
  std::vector<Layer> layers_;
  std::optional<NormLayer> norm_;
};

}  // namespace mixgrad
