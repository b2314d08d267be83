// A token mixer: the part of a layer in which tokens see each other.
//   class EmaMixer : public MixerOf<EmaState> { ... };                         one class and one state for each kind
//   const auto mixer = make_mixer(layer, {parameters, "layers.0.mixer", config, out_deviation});
//   auto state = mixer->new_state(batch, max_tokens, placement);
//   y = mixer->prefill(prompt, *state);  y = mixer->step(token, *state);
//
// The laws (nn/mixers/laws/mixer_laws.h), which the tests run for every kind:
//   causal        y[t] depends on u[0..t] only, bit for bit
//   step = forward, and prefill of the first k tokens and steps = forward, for every k
//   rows of a batch are independent;  state.bytes() is state_bytes();  clone and reset are independent
// `forward` never touches a state; `prefill` goes by the state's position, never by the number of tokens given.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/numeric/dropout_mask.h"
#include "core/numeric/token_position.h"
#include "core/tensor.h"
#include "nn/modules/layers.h"

namespace mixgrad {

// What a mixer computes from.
struct LayerInput {
  NormedInput normed;  // a Linear that begins the mixer takes this: in a decoding step that saves a kernel on CUDA
  Tensor sources;      // what add_source made of the hidden states below; undefined for a mixer that takes none
  // In training with dropout, of attention probabilities: softmax heads that are computed in several parts take this
  // place and the next ones, of which there are kPlaces.
  DropoutMask dropout = {};
  static constexpr std::uint32_t kPlaces = 4;

  LayerInput(Tensor u, Tensor of_sources = {})  // NOLINT(google-explicit-constructor)
      : normed(std::move(u)), sources(std::move(of_sources)) {}
  LayerInput(NormedInput input, Tensor of_sources) : normed(std::move(input)), sources(std::move(of_sources)) {}

  const Tensor& u() const { return normed.tensor(); }  // [B,T,D]: the layer's normed input
};

// Rows [begin, end) of a tensor's first axis.
struct RowRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

class Mixer;

// What a mixer keeps of the tokens that it has consumed. Each kind has its own, and documents its tensors and bytes.
class MixerState {
 public:
  virtual ~MixerState() = default;
  virtual std::size_t bytes() const = 0;  // of all its tensors
  // A state that shares no memory with this one: copy the object, then clone each tensor.
  virtual std::unique_ptr<MixerState> clone() const = 0;

  void reset() {  // as a new one
    consumed_ = 0;
    clear();
  }
  std::int64_t position() const { return consumed_; }  // tokens consumed
  std::int64_t batch() const { return batch_; }
  const std::string& made_by() const { return made_by_; }  // the mixer's name()

  // While a step is captured as a CUDA graph (nn/model/step_graph.h), where its kernels find the position of the token;
  // else null. A replay puts its token into the tensors without a word to the host: advance() counts it.
  const std::int64_t* device_position = nullptr;
  void advance(std::int64_t tokens) { consumed_ += tokens; }
  TokenPosition next_position() const { return {consumed_, device_position}; }

 protected:
  // Makes the tensors as they were at first. Nothing to do where none is read before it is written. The tensors must
  // stay where they are in memory: a captured graph holds their addresses.
  virtual void clear() {}

 private:
  friend class Mixer;
  const Mixer* maker_ = nullptr;  // compared only, never used: it may be gone
  std::int64_t consumed_ = 0;
  std::int64_t batch_ = 0;
  std::string made_by_;
};

class Mixer {
 public:
  virtual ~Mixer() = default;

  virtual std::string name() const = 0;      // as in --mixer: "attention", "hsm:vector", "mamba"
  virtual std::string describe() const = 0;  // with its sizes: "attention, 4 heads of width 32, 2 key/value heads"

  // A whole sequence from its start: [B,T,D] -> [B,T,D]. Recorded when a tape is there.
  virtual Tensor forward(const LayerInput& input) const = 0;

  // The same with softmax heads that see the last `window` tokens only, themselves included; 0 = all. Heads of any
  // other kind behave exactly as in forward().
  virtual Tensor windowed(const LayerInput& input, std::int64_t /*window*/) const { return forward(input); }

  // A state for `batch` sequences of at most max_tokens tokens (a hint: longer ones continue as each mixer documents).
  // ValueError when one of the two is below 1.
  std::unique_ptr<MixerState> new_state(std::int64_t batch, std::int64_t max_tokens, Placement placement) const;

  // The next T tokens: [B,T,D] -> [B,T,D]; advances the state by T. Not recorded. ValueError for a state that another
  // mixer made, or of another batch. After any other exception the state is half-way: reset() it.
  Tensor prefill(const LayerInput& input, MixerState& state) const;
  Tensor step(const LayerInput& input, MixerState& state) const { return prefill(input, state); }  // the next token

  virtual double operations(std::int64_t tokens) const = 0;  // per token, at sequence length T = tokens
  // Of a state for one sequence of `tokens` tokens in a model of `dtype`: the documented formula. Tensors that are kept
  // in f32 in a bf16 model count as f32.
  virtual std::size_t state_bytes(std::int64_t tokens, DType dtype) const = 0;

  // What analyses ask. Not recorded, unless it says so.
  virtual std::int64_t softmax_heads() const { return 0; }
  // Recency ratios with window k of the softmax heads, [their number], in order; undefined when there are none.
  virtual Tensor recency(const LayerInput& /*input*/, std::int64_t /*k*/) const { return {}; }
  // How many tokens each of them sees, itself included; 0: all before it.
  virtual std::vector<std::int64_t> softmax_windows() const {
    return std::vector<std::int64_t>(static_cast<std::size_t>(softmax_heads()));
  }
  // Of the same heads, in order: where they look (attention_profile, ops/attention), [B,H,2 + R], and what they give
  // before the product after them, [B,T,H dh]. Undefined where there are none, or where other sources are attended to.
  virtual Tensor softmax_profile(const LayerInput& /*input*/) const { return {}; }
  virtual Tensor softmax_outputs(const LayerInput& /*input*/) const { return {}; }
  // What its Mamba heads and its shift heads give before the product after them, [B,T,R dh]; undefined where there are
  // none. Recorded when a tape is there, so that such heads can be trained on their own.
  virtual Tensor mamba_outputs(const LayerInput& /*input*/) const { return {}; }
  virtual Tensor shift_outputs(const LayerInput& /*input*/) const { return {}; }
  // The weights themselves, [B,H,T T] on the host, f64: of query i (row) on key j; 0 where it does not see. For a text
  // of some hundred tokens.
  virtual Tensor softmax_weights(const LayerInput& /*input*/) const { return {}; }
  // How much of its attention each query gives to each source, [B,H,T,M]; undefined without sources.
  virtual Tensor depth_mass(const LayerInput& /*input*/) const { return {}; }
  // Rows of a parameter, named without its prefix ("qkv.bias"), whose gradient is zero on paper, so that rounding alone
  // decides where an optimizer moves them: a comparison of training runs leaves them out.
  virtual RowRange rows_without_gradient(std::string_view /*parameter*/) const { return {}; }

  // The hidden states h^depth [B,T,D] below the layer, in order, for a mixer that looks at them: adds what it needs of
  // this one, below.sum(), to `sources`, which forward and prefill are given as LayerInput::sources.
  virtual void add_source(std::int64_t /*depth*/, const NormedInput& /*below*/, DType /*dtype*/,
                          Tensor& /*sources*/) const {}

 private:
  virtual std::unique_ptr<MixerState> make_state(std::int64_t batch, std::int64_t max_tokens,
                                                 Placement placement) const = 0;
  virtual Tensor continued_by(const LayerInput& input, MixerState& state, TokenPosition first) const = 0;
};

// A mixer whose states are of the type State: what most derive from. It implements, besides the rest of Mixer,
//   std::unique_ptr<State> empty_state(batch, max_tokens, placement) const
//   Tensor continued(input, state, first) const      the next tokens, of which the first stands at position `first`
template <class State>
class MixerOf : public Mixer {
 protected:
  virtual std::unique_ptr<State> empty_state(std::int64_t batch, std::int64_t max_tokens,
                                             Placement placement) const = 0;
  virtual Tensor continued(const LayerInput& input, State& state, TokenPosition first) const = 0;

 private:
  std::unique_ptr<MixerState> make_state(std::int64_t batch, std::int64_t max_tokens, Placement placement) const final {
    return empty_state(batch, max_tokens, placement);
  }
  Tensor continued_by(const LayerInput& input, MixerState& state, TokenPosition first) const final {
    return continued(input, static_cast<State&>(state), first);  // of this type: prefill has checked who made it
  }
};

}  // namespace mixgrad
