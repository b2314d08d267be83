#include "nn/mixers/mixer.h"

#include "core/error.h"

namespace mixgrad {

std::unique_ptr<MixerState> Mixer::new_state(std::int64_t batch, std::int64_t max_tokens, Placement placement) const {
  if (batch < 1 || max_tokens < 1) {
    raise<ValueError>(name(), " state: batch and max_tokens must be at least 1, got ", batch, " and ", max_tokens);
  }
  auto state = make_state(batch, max_tokens, placement);
  state->batch_ = batch;
  state->made_by_ = name();
  state->maker_ = this;
  return state;
}

Tensor Mixer::prefill(const LayerInput& input, MixerState& state) const {
  const std::int64_t batch = input.normed.shape()[0];
  if (state.maker_ != this || state.batch_ != batch) {
    const std::string maker = (state.maker_ == this ? "this " : "another mixer, ") + state.made_by();
    raise<ValueError>(name(), ": a state from this mixer's new_state with batch ", batch, " is required; got one of ",
                      maker, ", with batch ", state.batch_, "; use the state that was made for this layer");
  }
  const TokenPosition first = state.next_position();
  state.advance(input.normed.shape()[1]);  // at once: after an exception below the decoder refuses the state
  return continued_by(input, state, first);
}

}  // namespace mixgrad
