// The order in which `--sampling shuffle` visits the windows of a text: a permutation that is computed, not stored, so
// that any position of it is known from (seed, position) alone, on the host and on a CUDA device.
//
//   const WindowGrid grid = WindowGrid::of(train_tokens, context);
//   const std::int64_t begin = shuffled_window(grid, seed, position);   // position 0, 1, 2, ...
//
// The training part is cut into windows of T tokens, one after another. Of each epoch (as many positions as there are
// windows) every window is visited once: position i of epoch e is window P_e(i), where P_e is a Feistel network of six
// rounds over the next larger square of a power of two, walked along its cycle until it falls into the range. Its
// round function, and how far all windows of the epoch are moved towards the end (by less than T, so that the last
// tokens have their turn), come from Philox (core/numeric/philox.h).
#pragma once

#include <cstdint>

#include "core/numeric/philox.h"

namespace mixgrad {

struct WindowGrid {
  std::int64_t windows = 0;  // W = (n - 1) / T: a window needs the token behind it
  std::int64_t context = 0;  // T
  std::int64_t rest = 0;     // tokens that are in no window, of those that could be inputs

  static WindowGrid of(std::int64_t tokens, std::int64_t context) {
    return {(tokens - 1) / context, context, (tokens - 1) % context};
  }
};

// P(index) for 0 <= index < count, with the key of an epoch.
inline MIXGRAD_HD std::uint64_t permuted(std::uint64_t index, std::uint64_t count, std::uint64_t key) {
  constexpr int kRounds = 6;
  int half = 1;  // bits
  while (half < 32 && (std::uint64_t{1} << static_cast<unsigned>(2 * half)) < count) ++half;
  const std::uint64_t mask = (std::uint64_t{1} << static_cast<unsigned>(half)) - 1;
  std::uint64_t at = index;
  do {
    std::uint64_t left = at >> static_cast<unsigned>(half);
    std::uint64_t right = at & mask;
    for (int round = 0; round < kRounds; ++round) {
      const std::uint64_t input = static_cast<std::uint64_t>(round) << 32U | right;
      const std::uint64_t next = left ^ (random_bits(key, input).first64() & mask);
      left = right;
      right = next;
    }
    at = left << static_cast<unsigned>(half) | right;
  } while (at >= count);
  return at;
}

// Where the window at this position begins. Positions are counted from the first batch of a run.
inline MIXGRAD_HD std::int64_t shuffled_window(const WindowGrid& grid, std::uint64_t seed, std::uint64_t position) {
  constexpr std::uint64_t kEpochKeys = std::uint64_t{1} << 62U;  // counters that nothing else draws with
  const auto windows = static_cast<std::uint64_t>(grid.windows);
  const RandomBits bits = random_bits(seed, kEpochKeys + position / windows);
  const std::uint64_t window = permuted(position % windows, windows, bits.first64());
  const std::uint64_t moved = bits.second64() % static_cast<std::uint64_t>(grid.rest + 1);
  return static_cast<std::int64_t>(window) * grid.context + static_cast<std::int64_t>(moved);
}

}  // namespace mixgrad
