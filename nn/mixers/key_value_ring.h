// What softmax attention keeps while decoding: keys and values of the last C tokens, in a ring.
//   keys, values: [B,C r,G dh], where a token has r rows: one, or in a shortcut layer one per source
//   bytes: 2 B C r G dh elements
// Beyond C tokens the newest overwrites the oldest, which equals forward with a window of C: softmax does not depend on
// the order of the keys, and rotary keys carry their position.
#pragma once

#include <functional>

#include "nn/mixers/mixer.h"

namespace mixgrad {

struct KeyValueRing {
  Tensor keys;
  Tensor values;
  std::int64_t rows_per_token = 1;  // r; 0: nothing is kept

  KeyValueRing() = default;
  KeyValueRing(std::int64_t batch, std::int64_t tokens, std::int64_t rows_per_token, std::int64_t width,
               Placement placement);

  std::size_t bytes() const { return keys.bytes() + values.bytes(); }
  KeyValueRing clone() const;

  // Takes in the next T tokens, of which the first stands at position `first`, k and v [B,T r,G dh], and returns the
  // attention of their queries q [B,T,H dh]. attend(queries, position) computes that of some of the queries, whose
  // tokens stand from `position` on and are in the ring.
  using Attend = std::function<Tensor(const Tensor& queries, TokenPosition position)>;
  Tensor append(const Tensor& q, const Tensor& k, const Tensor& v, TokenPosition first, const Attend& attend) const;
};

// The state of a mixer whose heads are all softmax attention.
struct KeyValueState : MixerState {
  KeyValueRing ring;

  std::size_t bytes() const override { return ring.bytes(); }
  std::unique_ptr<MixerState> clone() const override;
};

}  // namespace mixgrad
