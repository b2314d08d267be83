// Learns the merges of byte-pair encoding from a text: again and again the most frequent pair of neighbours within a
// word becomes a token.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "nn/tokenizers/byte_pairs/split_pattern.h"
#include "nn/tokenizers/tokenizer_types.h"

namespace mixgrad {

using BpePair = std::pair<std::int32_t, std::int32_t>;

// A longer word is counted in pieces of so many bytes; no learned token is longer.
inline constexpr std::size_t kLongestBpeToken = 256;

// The pairs that become the tokens 256, 257, ..., `tokens` - 256 of them; 0 to 255 are the bytes. Of equally frequent
// pairs the one with the smaller ids is first. A pair whose bytes are a token already is left out, so each token has
// bytes of its own. The result does not depend on the number of threads.
// FormatError, naming the source: no pair is left that occurs twice. Interrupted.
std::vector<BpePair> learn_bpe_merges(const TokenizerInput& input, SplitPattern pattern, std::int64_t tokens);

}  // namespace mixgrad
