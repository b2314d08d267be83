// A token mixer: the part of a layer in which tokens see each other.
//
// The laws (tests/nn/mixers/mixer_laws_test.cpp runs them for every mixer):
//   causal        y[t] depends on u[0..t] only, bit for bit
//   step = forward, prefill of the first k tokens and steps = forward for every k
//   rows of a batch are independent;  state.bytes() follows the documented formula;  clone and reset are independent
// `forward` never touches a state; `prefill` never guesses from a length.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/tensor.h"
#include "core/token_position.h"

namespace mixgrad {

// What a mixer keeps of the tokens it has consumed. Each mixer documents its own.
class MixerState {
 public:
  virtual ~MixerState() = default;
  virtual std::int64_t position() const = 0;  // tokens consumed
  virtual std::size_t bytes() const = 0;      // of all its tensors
  virtual void reset() = 0;                   // as new
  virtual std::unique_ptr<MixerState> clone() const = 0;

  // While a step is captured as a CUDA graph (nn/model/step_graph.h), where its kernels find the position of the token;
  // else null. A replay puts its token into the tensors without a word to the host: advance() counts it.
  const std::int64_t* device_position = nullptr;
  virtual void advance(std::int64_t tokens) = 0;
  TokenPosition next_position() const { return {position(), device_position}; }
};

class Mixer {
 public:
  virtual ~Mixer() = default;

  virtual std::string describe() const = 0;  // "attention, 4 heads, 2 key/value heads"

  // A whole sequence from its start: u [B,T,D] -> [B,T,D]. Recorded when a tape is there.
  virtual Tensor forward(const Tensor& u) const = 0;

  // The same with softmax heads that see the last `window` tokens only, themselves included; 0 = all. What is no
  // softmax head is as in forward.
  virtual Tensor windowed(const Tensor& u, std::int64_t /*window*/) const { return forward(u); }

  // Recency ratios with window k of the softmax heads on u, [their number], in order; undefined when there are none.
  // Not recorded.
  virtual Tensor recency(const Tensor& /*u*/, std::int64_t /*k*/) const { return {}; }

  // A state for `batch` sequences of at most max_tokens tokens (a hint: longer ones continue as each mixer documents).
  virtual std::unique_ptr<MixerState> new_state(std::int64_t batch, std::int64_t max_tokens, Placement place) const = 0;

  // The next T tokens: u [B,T,D] -> [B,T,D]; advances the state by T. Not recorded.
  virtual Tensor prefill(const Tensor& u, MixerState& state) const = 0;

  // The next token: u [B,1,D] -> [B,1,D].
  Tensor step(const Tensor& u, MixerState& state) const { return prefill(u, state); }

  // Per token at sequence length T, and state bytes for one sequence at length t in `dtype`.
  virtual double operations(std::int64_t tokens) const = 0;
  virtual std::size_t state_bytes(std::int64_t tokens, DType dtype) const = 0;
};

}  // namespace mixgrad
