// What softmax attention keeps while decoding: keys and values of the last C tokens, in a ring.
//   keys, values: [B,C r,G dh], where a token has r rows: one, or in a shortcut layer one per source
//   bytes: 2 B C r G dh elements
// Beyond C tokens the newest takes the place of the oldest, which equals forward with a window of C: softmax does not
// mind the order of the keys, and rotary keys carry their position.
#pragma once

#include <functional>

#include "nn/mixers/mixer.h"

namespace mixgrad {

struct KeyValueState : MixerState {
  Tensor keys;
  Tensor values;
  std::int64_t rows_per_token = 1;  // r; 0: nothing is kept, only counted
  std::int64_t consumed = 0;

  KeyValueState() = default;
  // For `tokens` tokens. ValueError, beginning with `what`, when batch or tokens is below 1.
  KeyValueState(const char* what, std::int64_t batch, std::int64_t tokens, std::int64_t rows_per_token,
                std::int64_t width, Placement place);

  std::int64_t position() const override { return consumed; }
  std::size_t bytes() const override { return keys.bytes() + values.bytes(); }
  void reset() override { consumed = 0; }
  void advance(std::int64_t tokens) override { consumed += tokens; }
  std::unique_ptr<MixerState> clone() const override;

  // Takes in the next T tokens, k and v [B,T r,G dh], and returns the attention of their queries q [B,T,H dh].
  // attend(queries, position): that of `queries`, whose tokens stand from `position` on and are in the ring.
  using Attend = std::function<Tensor(const Tensor& queries, TokenPosition position)>;
  Tensor append(const Tensor& q, const Tensor& k, const Tensor& v, const Attend& attend);
};

}  // namespace mixgrad
