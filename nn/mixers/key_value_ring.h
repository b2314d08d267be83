// What softmax attention keeps while decoding: keys and values of the last C tokens, in a ring.
//   keys, values: [B,C r,G dh], where a token has r rows: one, or in a shortcut layer one per source
//   bytes: 2 B C r G dh elements
// Beyond C tokens the newest overwrites the oldest, which equals forward with a window of C: softmax does not depend on
// the order of the keys, and rotary keys carry their position. So a head with a window of W tokens has a ring of W.
#pragma once

#include <functional>
#include <vector>

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
  // attention of their queries q [B,T,H dh], each to the last C tokens. attend(visible) is the cached form of the
  // operator for these queries.
  struct VisibleKeys {
    const Tensor& keys;    // a cache [B,S r,G dh] that holds the tokens of the queries and those before them
    const Tensor& values;  // likewise
    TokenPosition before;  // how many tokens of it stand before the queries
    std::int64_t window;   // that a query sees; 0: all
  };
  using Attend = std::function<Tensor(const VisibleKeys& visible)>;
  Tensor append(const Tensor& k, const Tensor& v, TokenPosition first, const Attend& attend) const;

 private:
  Tensor last_and(const Tensor& ring, const Tensor& fresh, std::int64_t first, std::int64_t kept) const;
};

// Each ring copied.
std::vector<KeyValueRing> clone(const std::vector<KeyValueRing>& rings);
std::size_t bytes_of(const std::vector<KeyValueRing>& rings);

// The state of a mixer whose heads are all softmax attention.
struct KeyValueState : MixerState {
  std::vector<KeyValueRing> rings;

  std::size_t bytes() const override { return bytes_of(rings); }
  std::unique_ptr<MixerState> clone() const override;
};

}  // namespace mixgrad
